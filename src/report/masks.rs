//! Parts of a document that were taken out because they cannot be read, and where the others were before.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// What is gone. Pointers are those of the document as it was written.
#[derive(Debug, Default)]
pub struct Masks {
    gone: BTreeSet<String>,
    /// By list: the indexes of elements that are gone, ascending.
    lists: HashMap<String, Vec<usize>>,
}

impl Masks {
    /// The place in the document as it was written.
    pub fn original(&self, pointer: &str) -> String {
        if self.lists.is_empty() {
            return pointer.to_owned();
        }
        let mut original = String::with_capacity(pointer.len());
        for part in pointer.split('/').skip(1) {
            let moved = self.lists.get(&original).zip(part.parse::<usize>().ok());
            original.push('/');
            match moved {
                Some((gone, index)) => original.push_str(&before(gone, index).to_string()),
                None => original.push_str(part),
            }
        }
        original
    }

    /// True when the place is gone, or something below it.
    pub fn is_above_mask(&self, pointer: &str) -> bool {
        let first = self.gone.range(pointer.to_owned()..).next();
        first.is_some_and(|gone| gone == pointer)
            || self.gone.range(format!("{pointer}/")..).next().is_some_and(|gone| is_below(gone, pointer))
    }

    /// True when the place is gone, something below it or something above it.
    pub fn touches(&self, pointer: &str) -> bool {
        self.is_above_mask(pointer) || self.gone.iter().any(|gone| is_below(pointer, gone))
    }

    /// Notes a place that is empty from the start.
    pub fn note(&mut self, original: String) {
        self.gone.insert(original);
    }

    /// Takes the value at `base` + `pointer` out, or the nearest thing around it; `document` is what is at `base`.
    pub fn take_out(&mut self, document: &mut Value, base: &str, pointer: &str) -> bool {
        let place = nearest(document, pointer);
        let Some((parent, key)) = place.rsplit_once('/') else { return false };
        let original = self.original(&format!("{base}{place}"));
        match document.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                members.remove(&key.replace("~1", "/").replace("~0", "~"));
            }
            Some(Value::Array(list)) => {
                let Some(index) = key.parse().ok().filter(|index| *index < list.len()) else { return false };
                list.remove(index);
                let above = original.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
                let gone = self.lists.entry(above).or_default();
                let index = before(gone, index);
                let place = gone.partition_point(|other| *other < index);
                gone.insert(place, index);
            }
            _ => return false,
        }
        self.gone.insert(original);
        true
    }
}

/// The index that an element had before those in `gone` were taken out.
fn before(gone: &[usize], index: usize) -> usize {
    gone.iter().fold(index, |index, gone| if *gone <= index { index + 1 } else { index })
}

fn is_below(pointer: &str, above: &str) -> bool {
    pointer.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// The pointer itself, or the one of what is around it, whichever is there.
pub(crate) fn nearest<'p>(document: &Value, pointer: &'p str) -> &'p str {
    let mut place = pointer;
    while document.pointer(place).is_none() {
        place = place.rsplit_once('/').map_or("", |(above, _)| above);
    }
    place
}
