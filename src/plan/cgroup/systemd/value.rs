//! Values of D-Bus, each with its type.
//!
//! They print in the text form of GVariant, which `busctl` and `systemctl` users know and which `text` reads.
//! Source: D-Bus specification, "Type System"; GVariant Text Format.

use std::fmt;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    String(String),
    /// `o`
    ObjectPath(String),
    /// `g`
    Signature(String),
    /// `a`: the signature of the elements, and the elements.
    Array(String, Vec<Value>),
    /// `(...)`
    Struct(Vec<Value>),
    /// `{..}`, only inside of arrays.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// A list of strings.
    pub fn strings<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
        Value::Array("s".to_owned(), texts.into_iter().map(Value::string).collect())
    }

    /// A list of bytes.
    pub fn bytes(bytes: impl IntoIterator<Item = u8>) -> Value {
        Value::Array("y".to_owned(), bytes.into_iter().map(Value::Byte).collect())
    }

    /// Its type, such as `a(ss)`.
    pub fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".to_owned(),
            Value::Byte(_) => "y".to_owned(),
            Value::Int16(_) => "n".to_owned(),
            Value::Uint16(_) => "q".to_owned(),
            Value::Int32(_) => "i".to_owned(),
            Value::Uint32(_) => "u".to_owned(),
            Value::Int64(_) => "x".to_owned(),
            Value::Uint64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::String(_) => "s".to_owned(),
            Value::ObjectPath(_) => "o".to_owned(),
            Value::Signature(_) => "g".to_owned(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(members) => {
                format!("({})", members.iter().map(Value::signature).collect::<String>())
            }
            Value::Entry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Variant(_) => "v".to_owned(),
        }
    }

    /// The text of a string, object path or signature.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::ObjectPath(text) | Value::Signature(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a `u`.
    pub fn as_u32(&self) -> Option<u32> {
        match self {
            Value::Uint32(number) => Some(*number),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Byte(value) => write!(f, "byte 0x{value:02x}"),
            Value::Int16(value) => write!(f, "int16 {value}"),
            Value::Uint16(value) => write!(f, "uint16 {value}"),
            Value::Int32(value) => write!(f, "{value}"),
            Value::Uint32(value) => write!(f, "uint32 {value}"),
            Value::Int64(value) => write!(f, "int64 {value}"),
            Value::Uint64(value) => write!(f, "uint64 {value}"),
            // With a point or an exponent, so that it is not read as an integer.
            Value::Double(value) => write!(f, "{value:?}"),
            Value::String(text) => quote(f, text),
            Value::ObjectPath(text) => f.write_str("objectpath ").and_then(|()| quote(f, text)),
            Value::Signature(text) => f.write_str("signature ").and_then(|()| quote(f, text)),
            Value::Array(element, values) => array(f, element, values),
            Value::Struct(values) => {
                list(f, "(", values, |f, value| write!(f, "{value}"))?;
                f.write_str(if values.len() == 1 { ",)" } else { ")" })
            }
            Value::Entry(entry) => write!(f, "{{{}: {}}}", entry.0, entry.1),
            Value::Variant(value) => write!(f, "<{value}>"),
        }
    }
}

fn array(f: &mut fmt::Formatter<'_>, element: &str, values: &[Value]) -> fmt::Result {
    if values.is_empty() {
        return write!(f, "@a{element} []");
    }
    if element == "y" {
        // One word for the type of all.
        f.write_str("[byte ")?;
        list(f, "", values, |f, value| match value {
            Value::Byte(byte) => write!(f, "0x{byte:02x}"),
            other => write!(f, "{other}"),
        })?;
        return f.write_str("]");
    }
    let (open, close) = if element.starts_with('{') { ("{", "}") } else { ("[", "]") };
    list(f, open, values, |f, value| match value {
        Value::Entry(entry) => write!(f, "{}: {}", entry.0, entry.1),
        other => write!(f, "{other}"),
    })?;
    f.write_str(close)
}

fn list(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    values: &[Value],
    write: impl Fn(&mut fmt::Formatter<'_>, &Value) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, value)?;
    }
    Ok(())
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("'")?;
    for c in text.chars() {
        match c {
            '\'' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("'")
}
