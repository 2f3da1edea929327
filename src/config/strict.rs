//! JSON to a value, strictly: no duplicate keys, no oversized lists, `null` members as if absent.
//!
//! Go's decoder takes the last of two equal keys, so a document can mean one thing to an engine and another to us.
//! Duplicates are therefore refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::error::{Error, Result};

/// The longest list or object that is accepted, in elements.
const MOST_ELEMENTS: usize = 65_536;

/// Parses `config.json`, whose top is an object.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    parse_named(bytes, "config.json")
}

/// Parses a document whose top is an object. `what` names it in errors.
pub fn parse_named(bytes: &[u8], what: &str) -> Result<Value> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let parsed = Strict::deserialize(tracked);
    let value = match parsed {
        Ok(Strict(value)) => value,
        Err(error) => {
            return Err(Error::config(pointer("", &track.path()), format!("{what} is not valid: {error}")));
        }
    };
    json.end().map_err(|e| Error::config("", format!("{what} is not valid: {e}")))?;
    if !value.is_object() {
        return Err(Error::config("", format!("{what} is not valid: the top must be an object")));
    }
    Ok(value)
}

/// Reads the first JSON value of a stream, which must be an object. What follows it is left alone: who writes may
/// keep the stream open.
///
/// `what` names the stream in errors.
pub fn first_value(stream: impl std::io::Read, what: &str) -> Result<Value> {
    let mut json = serde_json::Deserializer::from_reader(stream.take(super::LARGEST));
    let invalid = |problem: &dyn fmt::Display| Error::usage(format!("{what} is not valid: {problem}"));
    let Strict(value) = Strict::deserialize(&mut json).map_err(|e| invalid(&e))?;
    if value.is_object() { Ok(value) } else { Err(invalid(&"the top must be an object")) }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(StrictVisitor)? {
            if list.len() >= MOST_ELEMENTS {
                return Err(A::Error::custom(format!("a list has more than {MOST_ELEMENTS} elements")));
            }
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        let mut nulls: BTreeSet<String> = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) || nulls.contains(&key) {
                return Err(A::Error::custom(format!("duplicate key \"{key}\"")));
            }
            if object.len() + nulls.len() >= MOST_ELEMENTS {
                return Err(A::Error::custom(format!("an object has more than {MOST_ELEMENTS} members")));
            }
            match members.next_value_seed(StrictVisitor)? {
                Value::Null => {
                    nulls.insert(key);
                }
                value => {
                    object.insert(key, value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// RFC 6901 pointer of a path below `base`.
pub fn pointer(base: &str, path: &Path) -> String {
    let mut pointer = base.to_owned();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => push_key(&mut pointer, key),
            // The name of an enum variant is no part of the document.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Adds one key to a pointer, escaped as RFC 6901 wants.
pub fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}
