//! As much of D-Bus as a peer in a test needs: reading messages into JSON, and writing answers.
//!
//! Written without a look at the code under test, so that a mistake there is not repeated here.

use serde_json::{Value, json};

/// A message that has arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number.
    pub serial: u32,
    /// The method.
    pub member: String,
    /// Its arguments; variants are what they contain.
    pub body: Vec<Value>,
}

/// One argument of an answer.
pub enum Arg<'a> {
    /// A string.
    Text(&'a str),
    /// An object path.
    Path(&'a str),
    /// A number.
    Number(u32),
    /// A string in a variant.
    Variant(&'a str),
}

/// What an answer is.
pub enum Kind<'a> {
    /// The result of the call with this number.
    Return(u32),
    /// The failure of that call, with its name.
    Error(u32, &'a str),
    /// A signal of the manager.
    Signal(&'a str),
}

/// Takes the first whole message from `bytes`, if there is one.
pub fn take(bytes: &mut Vec<u8>) -> Option<Call> {
    if bytes.len() < 16 {
        return None;
    }
    assert_eq!(bytes[0], b'l', "the client writes little-endian");
    assert_eq!(bytes[3], 1, "the version of the protocol");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (body_len, serial, fields_len) = (word(4) as usize, word(8), word(12) as usize);
    let body_at = (16 + fields_len).div_ceil(8) * 8;
    if bytes.len() < body_at + body_len {
        return None;
    }
    let message: Vec<u8> = bytes.drain(..body_at + body_len).collect();
    let mut fields = Cursor { bytes: &message[..16 + fields_len], at: 16 };
    let (mut member, mut signature) = (String::new(), String::new());
    while fields.at < fields.bytes.len() {
        fields.pad(8);
        let code = fields.byte();
        let kind = fields.short_text();
        let value = fields.value(&kind);
        match code {
            3 => member = value.as_str().unwrap().to_owned(),
            8 => signature = value.as_str().unwrap().to_owned(),
            _ => {}
        }
    }
    let mut cursor = Cursor { bytes: &message[body_at..], at: 0 };
    let mut body = Vec::new();
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let length = one(rest);
        body.push(cursor.value(&rest[..length]));
        rest = &rest[length..];
    }
    assert_eq!(cursor.at, body_len, "the body of {member} has a rest");
    Some(Call { serial, member, body })
}

/// The length of the first type of a signature.
fn one(signature: &str) -> usize {
    match signature.as_bytes()[0] {
        b'a' => 1 + one(&signature[1..]),
        open @ (b'(' | b'{') => {
            let close = if open == b'(' { b')' } else { b'}' };
            let mut depth = 0;
            for (at, byte) in signature.bytes().enumerate() {
                depth += i32::from(byte == open) - i32::from(byte == close);
                if depth == 0 {
                    return at + 1;
                }
            }
            panic!("{signature} is not closed");
        }
        _ => 1,
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn pad(&mut self, to: usize) {
        let next = self.at.div_ceil(to) * to;
        assert!(self.bytes[self.at..next].iter().all(|byte| *byte == 0), "padding is zero");
        self.at = next;
    }

    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn word(&mut self) -> u32 {
        self.pad(4);
        self.at += 4;
        u32::from_le_bytes(self.bytes[self.at - 4..self.at].try_into().unwrap())
    }

    fn long(&mut self) -> u64 {
        self.pad(8);
        self.at += 8;
        u64::from_le_bytes(self.bytes[self.at - 8..self.at].try_into().unwrap())
    }

    fn text(&mut self, length: usize) -> String {
        let text = String::from_utf8(self.bytes[self.at..self.at + length].to_vec()).unwrap();
        self.at += length;
        assert_eq!(self.byte(), 0, "a text ends with NUL");
        text
    }

    fn short_text(&mut self) -> String {
        let length = usize::from(self.byte());
        self.text(length)
    }

    fn value(&mut self, signature: &str) -> Value {
        match signature.as_bytes()[0] {
            b'y' => json!(self.byte()),
            b'b' => json!(self.word() != 0),
            b'u' => json!(self.word()),
            b'i' => json!(self.word() as i32),
            b't' => json!(self.long()),
            b'x' => json!(self.long() as i64),
            b'd' => json!(f64::from_bits(self.long())),
            b's' | b'o' => {
                let length = self.word() as usize;
                json!(self.text(length))
            }
            b'g' => json!(self.short_text()),
            b'v' => {
                let kind = self.short_text();
                self.value(&kind)
            }
            b'a' => {
                let element = &signature[1..];
                let length = self.word() as usize;
                self.pad(if matches!(element.as_bytes()[0], b'(' | b'{' | b't' | b'x' | b'd') {
                    8
                } else {
                    1
                });
                let end = self.at + length;
                let mut values = Vec::new();
                while self.at < end {
                    values.push(self.value(element));
                }
                assert_eq!(self.at, end, "an array ends where it says");
                json!(values)
            }
            b'(' | b'{' => {
                self.pad(8);
                let mut rest = &signature[1..signature.len() - 1];
                let mut members = Vec::new();
                while !rest.is_empty() {
                    let length = one(rest);
                    members.push(self.value(&rest[..length]));
                    rest = &rest[length..];
                }
                json!(members)
            }
            other => panic!("no value of type {}", char::from(other)),
        }
    }
}

/// A message as bytes, from `sender`.
pub fn message(serial: u32, kind: &Kind, sender: &str, arguments: &[Arg]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Arg::Text(text) => put_text(&mut body, text, &mut signature, 's'),
            Arg::Path(text) => put_text(&mut body, text, &mut signature, 'o'),
            Arg::Number(number) => {
                signature.push('u');
                put_word(&mut body, *number);
            }
            Arg::Variant(text) => {
                signature.push('v');
                body.extend(b"\x01s\0");
                put_text(&mut body, text, &mut String::new(), 's');
            }
        }
    }
    let mut fields = Vec::new();
    let mut field = |code: u8, kind: char, text: &str| {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind as u8, 0]);
        if kind == 'g' {
            fields.push(text.len() as u8);
            fields.extend(text.bytes());
            fields.push(0);
        } else {
            put_text(&mut fields, text, &mut String::new(), kind);
        }
    };
    field(7, 's', sender);
    if !signature.is_empty() {
        field(8, 'g', &signature);
    }
    let (number, reply_to) = match kind {
        Kind::Return(serial) => (2, Some(*serial)),
        Kind::Error(serial, name) => {
            field(4, 's', name);
            (3, Some(*serial))
        }
        Kind::Signal(member) => {
            field(1, 'o', "/org/freedesktop/systemd1");
            field(2, 's', "org.freedesktop.systemd1.Manager");
            field(3, 's', member);
            (4, None)
        }
    };
    if let Some(serial) = reply_to {
        pad(&mut fields, 8);
        fields.extend([5, 1, b'u', 0]);
        put_word(&mut fields, serial);
    }
    let mut bytes = vec![b'l', number, 0, 1];
    put_word(&mut bytes, body.len() as u32);
    put_word(&mut bytes, serial);
    put_word(&mut bytes, fields.len() as u32);
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().div_ceil(to) * to, 0);
}

fn put_word(bytes: &mut Vec<u8>, word: u32) {
    pad(bytes, 4);
    bytes.extend(word.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str, signature: &mut String, kind: char) {
    signature.push(kind);
    put_word(bytes, text.len() as u32);
    bytes.extend(text.bytes());
    bytes.push(0);
}
