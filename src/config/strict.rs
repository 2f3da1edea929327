//! JSON to a value, strictly: no duplicate keys, no oversized lists, `null` members as if absent.
//!
//! Go's decoder takes the last of two equal keys, so a document can mean one thing to an engine and another to us.
//! Duplicates are therefore refused.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::error::{Error, Result};
use crate::report::Report;

/// The longest list or object that is accepted, in elements.
const MOST_ELEMENTS: usize = 65_536;

/// Parses `config.json`, whose top is an object. Errors are those of the text, and keys that come twice.
pub fn parse(bytes: &[u8], report: &mut Report) -> Result<Value> {
    parse_named(bytes, "config.json", report)
}

/// Parses a document whose top is an object. `what` names it in errors.
pub fn parse_named(bytes: &[u8], what: &str, report: &mut Report) -> Result<Value> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let report = report.goes_on().then(|| RefCell::new(report));
    let parsed = StrictVisitor { place: &Place::Top, report: report.as_ref() }.deserialize(tracked);
    let value = match parsed {
        Ok(value) => value,
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
    let visitor = StrictVisitor { place: &Place::Top, report: None };
    let value = visitor.deserialize(&mut json).map_err(|e| invalid(&e))?;
    if value.is_object() { Ok(value) } else { Err(invalid(&"the top must be an object")) }
}

/// Where in the document the visitor is.
enum Place<'a> {
    Top,
    Member(&'a Place<'a>, &'a str),
    Element(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Place::Top => String::new(),
            Place::Member(above, key) => {
                let mut pointer = above.pointer();
                push_key(&mut pointer, key);
                pointer
            }
            Place::Element(above, index) => format!("{}/{index}", above.pointer()),
        }
    }
}

#[derive(Clone, Copy)]
struct StrictVisitor<'a, 'r> {
    place: &'a Place<'a>,
    /// Who gets to know of keys that come twice; without it the first one ends the reading.
    report: Option<&'a RefCell<&'r mut Report>>,
}

impl<'a, 'r> StrictVisitor<'a, 'r> {
    fn at<'b>(self, place: &'b Place<'b>) -> StrictVisitor<'b, 'r>
    where
        'a: 'b,
    {
        StrictVisitor { place, report: self.report }
    }
}

impl<'de> DeserializeSeed<'de> for StrictVisitor<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor<'_, '_> {
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
        loop {
            let place = Place::Element(self.place, list.len());
            let Some(element) = elements.next_element_seed(self.at(&place))? else { break };
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
            let place = Place::Member(self.place, &key);
            if object.contains_key(&key) || nulls.contains(&key) {
                let problem = format!("duplicate key \"{key}\"");
                let Some(report) = self.report else { return Err(A::Error::custom(problem)) };
                let error = Error::config(place.pointer(), format!("config.json is not valid: {problem}"));
                report.borrow_mut().refuse(error).map_err(A::Error::custom)?;
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            if object.len() + nulls.len() >= MOST_ELEMENTS {
                return Err(A::Error::custom(format!("an object has more than {MOST_ELEMENTS} members")));
            }
            match members.next_value_seed(self.at(&place))? {
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
