//! Messages of D-Bus as bytes.
//!
//! We write little-endian and read both. What is read comes from another process: every length is checked against
//! what is there, and nothing is nested deeper than the signature, whose own depth is bounded.
//! Source: D-Bus specification, "Marshaling (Wire Format)" and "Message Protocol".

use crate::plan::cgroup::systemd::text::split_type;
use crate::plan::cgroup::systemd::value::Value;

/// The longest message that is read, in bytes. Answers of systemd to what we ask have some hundred.
pub const LONGEST: usize = 256 * 1024;

/// Bytes that tell how long a message is.
pub const FIRST: usize = 16;

/// How deep values inside of variants are followed.
const DEEPEST: usize = 16;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for something.
    Call = 1,
    /// The result of a call.
    Return = 2,
    /// The failure of a call.
    Error = 3,
    /// Tells that something has happened.
    Signal = 4,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its number on this connection, not 0.
    pub serial: u32,
    /// The number of the call that it answers.
    pub reply_to: Option<u32>,
    /// The object.
    pub path: Option<String>,
    /// The interface of the member.
    pub interface: Option<String>,
    /// The method or signal.
    pub member: Option<String>,
    /// The name of an error.
    pub error: Option<String>,
    /// The bus name that it goes to.
    pub destination: Option<String>,
    /// The unique bus name that it comes from, filled in by the bus.
    pub sender: Option<String>,
    /// Arguments.
    pub body: Vec<Value>,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Outcome<T> = Result<T, Malformed>;

impl Message {
    /// A message without addresses and arguments.
    pub fn new(kind: Kind, serial: u32) -> Message {
        Message {
            kind,
            serial,
            reply_to: None,
            path: None,
            interface: None,
            member: None,
            error: None,
            destination: None,
            sender: None,
            body: Vec::new(),
        }
    }

    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| put(&mut body, value));
        let text = |code: u8, text: &Option<String>, make: fn(String) -> Value| {
            text.clone().map(|text| (code, make(text)))
        };
        let signature: String = self.body.iter().map(Value::signature).collect();
        let fields = [
            text(1, &self.path, Value::ObjectPath),
            text(2, &self.interface, Value::String),
            text(3, &self.member, Value::String),
            text(4, &self.error, Value::String),
            self.reply_to.map(|serial| (5, Value::Uint32(serial))),
            text(6, &self.destination, Value::String),
            text(7, &self.sender, Value::String),
            (!signature.is_empty()).then_some((8, Value::Signature(signature))),
        ];
        let fields = fields
            .into_iter()
            .flatten()
            .map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]));
        let mut bytes = vec![b'l', self.kind as u8, 0, 1];
        put(&mut bytes, &Value::Uint32(body.len() as u32));
        put(&mut bytes, &Value::Uint32(self.serial));
        put(&mut bytes, &Value::Array("(yv)".to_owned(), fields.collect()));
        pad(&mut bytes, 8);
        bytes.extend(body);
        bytes
    }

    /// How many bytes the message has whose first [`FIRST`] are these.
    pub fn length(first: &[u8; FIRST]) -> Outcome<usize> {
        let mut reader = Reader { bytes: first, at: 4, swapped: is_swapped(first[0])? };
        let (body, _, fields) = (reader.u32()? as usize, reader.u32()?, reader.u32()? as usize);
        let length = FIRST
            .checked_add(fields)
            .map(|end| end.next_multiple_of(8))
            .and_then(|end| end.checked_add(body))
            .ok_or(Malformed)?;
        if length <= LONGEST { Ok(length) } else { Err(Malformed) }
    }

    /// Reads a whole message. Kinds and header fields that are unknown are skipped: `None`.
    pub fn decode(bytes: &[u8]) -> Outcome<Option<Message>> {
        let first = bytes.first_chunk::<FIRST>().ok_or(Malformed)?;
        if Message::length(first)? != bytes.len() || first[3] != 1 {
            return Err(Malformed);
        }
        let kind = match first[1] {
            0 => return Err(Malformed),
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Ok(None),
        };
        let mut reader = Reader { bytes, at: 8, swapped: is_swapped(first[0])? };
        let mut message = Message::new(kind, reader.u32()?);
        let Value::Array(_, fields) = reader.value("a(yv)", 0)? else { return Err(Malformed) };
        let mut signature = String::new();
        for field in fields {
            let Value::Struct(members) = field else { return Err(Malformed) };
            let [Value::Byte(code), Value::Variant(value)] = &members[..] else { return Err(Malformed) };
            let text = || value.as_text().map(str::to_owned).ok_or(Malformed);
            match code {
                1 => message.path = Some(text()?),
                2 => message.interface = Some(text()?),
                3 => message.member = Some(text()?),
                4 => message.error = Some(text()?),
                5 => message.reply_to = Some(value.as_u32().ok_or(Malformed)?),
                6 => message.destination = Some(text()?),
                7 => message.sender = Some(text()?),
                8 => signature = text()?,
                _ => {}
            }
        }
        reader.align(8)?;
        let mut reader = Reader { bytes: &bytes[reader.at..], at: 0, swapped: reader.swapped };
        let mut rest = signature.as_str();
        while !rest.is_empty() {
            let (next, after) = split_type(rest).ok_or(Malformed)?;
            message.body.push(reader.value(next, 0)?);
            rest = after;
        }
        Ok(Some(message))
    }
}

fn is_swapped(mark: u8) -> Outcome<bool> {
    match mark {
        b'l' => Ok(false),
        b'B' => Ok(true),
        _ => Err(Malformed),
    }
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put(bytes: &mut Vec<u8>, value: &Value) {
    pad(bytes, alignment(&value.signature()));
    match value {
        Value::Bool(value) => bytes.extend(u32::from(*value).to_le_bytes()),
        Value::Byte(value) => bytes.push(*value),
        Value::Int16(value) => bytes.extend(value.to_le_bytes()),
        Value::Uint16(value) => bytes.extend(value.to_le_bytes()),
        Value::Int32(value) => bytes.extend(value.to_le_bytes()),
        Value::Uint32(value) => bytes.extend(value.to_le_bytes()),
        Value::Int64(value) => bytes.extend(value.to_le_bytes()),
        Value::Uint64(value) => bytes.extend(value.to_le_bytes()),
        Value::Double(value) => bytes.extend(value.to_le_bytes()),
        Value::String(text) | Value::ObjectPath(text) => {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        Value::Signature(text) => put_signature(bytes, text),
        Value::Array(element, values) => {
            let start = bytes.len();
            bytes.extend([0; 4]);
            // The length does not count the padding in front of the first element.
            pad(bytes, alignment(element));
            let first = bytes.len();
            values.iter().for_each(|value| put(bytes, value));
            let length = (bytes.len() - first) as u32;
            bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        Value::Struct(members) => members.iter().for_each(|member| put(bytes, member)),
        Value::Entry(entry) => {
            put(bytes, &entry.0);
            put(bytes, &entry.1);
        }
        Value::Variant(value) => {
            put_signature(bytes, &value.signature());
            put(bytes, value);
        }
    }
}

/// At most 255 bytes long: the depth of values that are read from text is bounded, and members of ours are few.
fn put_signature(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    swapped: bool,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Outcome<&[u8]> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Outcome<()> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.take(padding).map(drop)
    }

    fn number<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        self.align(N)?;
        let swapped = self.swapped;
        let mut bytes: [u8; N] = self.take(N)?.try_into().map_err(|_| Malformed)?;
        if swapped {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn u32(&mut self) -> Outcome<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Outcome<String> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?.to_owned();
        match self.take(1)? {
            [0] => Ok(text),
            _ => Err(Malformed),
        }
    }

    fn signature(&mut self) -> Outcome<String> {
        let length = usize::from(self.take(1)?[0]);
        self.text(length)
    }

    /// One value of a complete type.
    fn value(&mut self, signature: &str, depth: usize) -> Outcome<Value> {
        if depth > DEEPEST {
            return Err(Malformed);
        }
        let inner = || signature.get(1..signature.len() - 1).ok_or(Malformed);
        Ok(match signature.as_bytes().first().ok_or(Malformed)? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' | b'h' => Value::Uint32(self.u32()?),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' => {
                let length = self.u32()? as usize;
                Value::String(self.text(length)?)
            }
            b'o' => {
                let length = self.u32()? as usize;
                Value::ObjectPath(self.text(length)?)
            }
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.array(&signature[1..], depth)?,
            b'(' => {
                self.align(8)?;
                Value::Struct(self.members(inner()?, depth)?)
            }
            b'{' => {
                self.align(8)?;
                let mut members = self.members(inner()?, depth)?;
                match (members.pop(), members.pop()) {
                    (Some(value), Some(key)) => Value::Entry(Box::new((key, value))),
                    _ => return Err(Malformed),
                }
            }
            b'v' => {
                let signature = self.signature()?;
                match split_type(&signature) {
                    Some((_, "")) => Value::Variant(Box::new(self.value(&signature, depth + 1)?)),
                    _ => return Err(Malformed),
                }
            }
            _ => return Err(Malformed),
        })
    }

    fn array(&mut self, element: &str, depth: usize) -> Outcome<Value> {
        let length = self.u32()? as usize;
        self.align(alignment(element))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        let mut values = Vec::new();
        // Every element has at least one byte, so this ends.
        while self.at < end {
            values.push(self.value(element, depth + 1)?);
        }
        if self.at == end { Ok(Value::Array(element.to_owned(), values)) } else { Err(Malformed) }
    }

    fn members(&mut self, mut signature: &str, depth: usize) -> Outcome<Vec<Value>> {
        let mut members = Vec::new();
        while !signature.is_empty() {
            let (next, rest) = split_type(signature).ok_or(Malformed)?;
            members.push(self.value(next, depth + 1)?);
            signature = rest;
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::systemd::text;

    fn full() -> Message {
        let values = [
            "true",
            "byte 1",
            "int16 -2",
            "uint16 3",
            "-4",
            "uint32 5",
            "int64 -6",
            "uint64 7",
            "1.5",
            "'text'",
            "objectpath '/a'",
            "signature 'as'",
            "['a', 'b']",
            "@at []",
            "[uint64 1]",
            "('a', byte 1, <2>)",
            "[('/dev/char/1:3', 'rwm')]",
            "{'a': <['x']>, 'b': <uint64 9>}",
            "<<'deep'>>",
            "[byte 1, 2, 3]",
        ];
        Message {
            reply_to: Some(7),
            path: Some("/a/b".to_owned()),
            interface: Some("a.b".to_owned()),
            member: Some("Member".to_owned()),
            error: Some("a.b.Error".to_owned()),
            destination: Some(":1.1".to_owned()),
            sender: Some(":1.2".to_owned()),
            body: values.iter().map(|value| text::parse(value).unwrap()).collect(),
            ..Message::new(Kind::Signal, 9)
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for message in [full(), Message::new(Kind::Return, 1)] {
            let bytes = message.encode();
            assert_eq!(Message::length(bytes.first_chunk().unwrap()), Ok(bytes.len()));
            assert_eq!(Message::decode(&bytes), Ok(Some(message)));
        }
    }

    /// The example bytes were composed by hand from the specification.
    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let message = Message {
            path: Some("/".to_owned()),
            member: Some("M".to_owned()),
            body: vec![Value::Byte(5), Value::Array("t".to_owned(), vec![Value::Uint64(1)])],
            ..Message::new(Kind::Call, 2)
        };
        let expected: &[&[u8]] = &[
            b"l\x01\x00\x01",
            &[16, 0, 0, 0],              // the body
            &[2, 0, 0, 0],               // the serial
            &[41, 0, 0, 0],              // the fields
            b"\x01\x01o\0\x01\0\0\0/\0", // path
            &[0; 6],
            b"\x03\x01s\0\x01\0\0\0M\0", // member
            &[0; 6],
            b"\x08\x01g\0\x03yat\0", // signature
            &[0; 7],
            &[5, 0, 0, 0],
            &[8, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(message.encode(), expected.concat());
        assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
    }

    #[test]
    fn the_other_byte_order_is_read() {
        let bytes: &[&[u8]] = &[
            b"B\x02\x00\x01",
            &[0, 0, 0, 4],
            &[0, 0, 0, 3],
            &[0, 0, 0, 15],
            &[5, 1, b'u', 0, 0, 0, 0, 9],
            &[8, 1, b'g', 0, 1, b'u', 0, 0],
            &[0, 0, 1, 2],
        ];
        let message = Message::decode(&bytes.concat()).unwrap().unwrap();
        assert_eq!((message.serial, message.reply_to), (3, Some(9)));
        assert_eq!(message.body, [Value::Uint32(258)]);
    }

    #[test]
    fn damaged_bytes_are_no_message_and_no_panic() {
        let bytes = full().encode();
        for end in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..end]), Err(Malformed), "{end}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 4, 8, 0x7f, 0xff, b'a', b'(', b'{', b'v'] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = Message::decode(&damaged);
            }
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let mut first = *full().encode().first_chunk::<FIRST>().unwrap();
        first[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Message::length(&first), Err(Malformed));
        first[4..8].copy_from_slice(&(LONGEST as u32).to_le_bytes());
        assert_eq!(Message::length(&first), Err(Malformed));
    }

    #[test]
    fn a_variant_in_a_variant_without_end_is_refused() {
        let mut body = Vec::new();
        for _ in 0..100 {
            put_signature(&mut body, "v");
        }
        put_signature(&mut body, "y");
        body.push(1);
        let mut reader = Reader { bytes: &body, at: 0, swapped: false };
        assert_eq!(reader.value("v", 0), Err(Malformed));
    }
}
