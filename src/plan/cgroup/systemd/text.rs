//! Reads the text form of GVariant: the values of `org.systemd.property.*` annotations.
//!
//! Integers without a type are `int32`, as in the specification; what is inside of one array has one type.
//! Source: GVariant Text Format. Not here: maybe types, which D-Bus does not have.

use super::value::Value;

/// The longest text that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// How deep arrays, tuples and variants may be nested.
const DEEPEST: usize = 16;

/// What is wrong with a text.
type Wrong = String;

/// Reads one value and nothing after it.
///
/// Errors: a sentence about the first thing that is wrong.
pub fn parse(text: &str) -> Result<Value, Wrong> {
    if text.len() > LONGEST {
        return Err(format!("the value has more than {LONGEST} bytes"));
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value(None)?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{:?} follows the value", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), Wrong> {
        if self.take(wanted) { Ok(()) } else { Err(format!("expected {wanted:?} at {:?}", self.rest)) }
    }

    /// Letters, digits and what numbers consist of.
    fn word(&mut self) -> String {
        self.skip_space();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// One value, of the type `wanted` when that is known.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("values are nested deeper than {DEEPEST}"));
        }
        let value = self.any(wanted)?;
        self.depth -= 1;
        match wanted {
            Some(wanted) if value.signature() != wanted => Err(format!("{value} is not of type {wanted:?}")),
            _ => Ok(value),
        }
    }

    fn any(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        match self.peek() {
            None => Err("the value ends too early".to_owned()),
            Some('@') => {
                self.expect('@')?;
                let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                let (signature, rest) = self.rest.split_at(end);
                if !is_one_type(signature) {
                    return Err(format!("{signature:?} is no type of D-Bus"));
                }
                self.rest = rest;
                self.value(Some(signature))
            }
            Some('\'' | '"') => self.text_of_type(wanted),
            Some('[') => self.array(wanted),
            Some('(') => self.tuple(wanted),
            Some('{') => self.dictionary(wanted),
            Some('<') => {
                self.expect('<')?;
                let value = self.value(None)?;
                self.expect('>')?;
                Ok(Value::Variant(Box::new(value)))
            }
            Some('b') if matches!(self.rest.as_bytes().get(1), Some(b'\'' | b'"')) => {
                self.expect('b')?;
                let text = self.string()?;
                // The form is that of C, with the NUL byte at the end.
                Ok(Value::bytes(text.bytes().chain([0])))
            }
            Some(_) => self.word_or_number(wanted),
        }
    }

    fn word_or_number(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        let before = self.rest;
        let word = self.word();
        match word.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "" => return Err(format!("no value starts with {:?}", before.chars().next().unwrap_or(' '))),
            _ => {}
        }
        match keyword(&word) {
            Some(signature) => self.value(Some(signature)),
            None => number(&word, wanted.unwrap_or(default_type(&word))),
        }
    }

    fn text_of_type(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        let text = self.string()?;
        match wanted {
            Some("o") if !is_object_path(&text) => Err(format!("{text:?} is no object path")),
            Some("o") => Ok(Value::ObjectPath(text)),
            Some("g") if !is_signature(&text) => Err(format!("{text:?} is no signature")),
            Some("g") => Ok(Value::Signature(text)),
            _ => Ok(Value::String(text)),
        }
    }

    fn string(&mut self) -> Result<String, Wrong> {
        let quote = self.peek().unwrap_or('\'');
        self.expect(quote)?;
        let mut text = String::new();
        loop {
            let c = self.next_char()?;
            match c {
                c if c == quote => return Ok(text),
                '\0' => return Err("a string contains a NUL byte".to_owned()),
                '\\' => match self.next_char()? {
                    'a' => text.push('\x07'),
                    'b' => text.push('\x08'),
                    'f' => text.push('\x0c'),
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    'v' => text.push('\x0b'),
                    'u' => text.push(self.escaped(4)?),
                    'U' => text.push(self.escaped(8)?),
                    '\n' => {}
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
    }

    fn next_char(&mut self) -> Result<char, Wrong> {
        let c = self.rest.chars().next().ok_or("a string is not closed")?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }

    fn escaped(&mut self, digits: usize) -> Result<char, Wrong> {
        let code = self.rest.get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let c = code.and_then(char::from_u32).filter(|c| *c != '\0');
        let c = c.ok_or_else(|| format!("an escape is not followed by {digits} digits of a character"))?;
        self.rest = &self.rest[digits..];
        Ok(c)
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        self.expect('[')?;
        let mut element = wanted.and_then(|wanted| wanted.strip_prefix('a')).map(str::to_owned);
        let mut values = Vec::new();
        while !self.take(']') {
            if !values.is_empty() {
                self.expect(',')?;
            }
            let value = self.value(element.as_deref())?;
            element.get_or_insert_with(|| value.signature());
            values.push(value);
        }
        let element = element.ok_or("an empty array needs its type, such as @as []")?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        self.expect('(')?;
        let inner = wanted.and_then(|wanted| wanted.strip_prefix('(')?.strip_suffix(')'));
        let mut types = inner.map(split_types);
        let mut values = Vec::new();
        while !self.take(')') {
            let next = match &mut types {
                Some(types) if types.is_empty() => return Err("a tuple has too many members".to_owned()),
                Some(types) => Some(types.remove(0)),
                None => None,
            };
            values.push(self.value(next)?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        if values.is_empty() {
            return Err("D-Bus has no empty tuples".to_owned());
        }
        Ok(Value::Struct(values))
    }

    fn dictionary(&mut self, wanted: Option<&str>) -> Result<Value, Wrong> {
        self.expect('{')?;
        let inner = wanted.and_then(|wanted| wanted.strip_prefix("a{")?.strip_suffix('}'));
        let mut types: Option<(String, String)> = inner.map(|inner| match split_types(inner)[..] {
            [key, value] => (key.to_owned(), value.to_owned()),
            _ => (String::new(), String::new()),
        });
        let mut entries = Vec::new();
        while !self.take('}') {
            if !entries.is_empty() {
                self.expect(',')?;
            }
            let key = self.value(types.as_ref().map(|(key, _)| key.as_str()))?;
            if key.signature().len() != 1 || matches!(key, Value::Variant(_)) {
                return Err(format!("{key} cannot be a key"));
            }
            self.expect(':')?;
            let value = self.value(types.as_ref().map(|(_, value)| value.as_str()))?;
            types.get_or_insert_with(|| (key.signature(), value.signature()));
            entries.push(Value::Entry(Box::new((key, value))));
        }
        let (key, value) = types.ok_or("an empty dictionary needs its type, such as @a{sv} {}")?;
        Ok(Value::Array(format!("{{{key}{value}}}"), entries))
    }
}

/// The type that a word in front of a value names.
fn keyword(word: &str) -> Option<&'static str> {
    const KEYWORDS: [(&str, &str); 13] = [
        ("boolean", "b"),
        ("byte", "y"),
        ("int16", "n"),
        ("uint16", "q"),
        ("int32", "i"),
        ("uint32", "u"),
        ("handle", "h"),
        ("int64", "x"),
        ("uint64", "t"),
        ("double", "d"),
        ("string", "s"),
        ("objectpath", "o"),
        ("signature", "g"),
    ];
    // A handle is a descriptor, which no text can carry.
    KEYWORDS.iter().find(|(known, _)| *known == word && word != "handle").map(|(_, signature)| *signature)
}

/// The type of a number that nothing is said about.
fn default_type(word: &str) -> &'static str {
    let is_hexadecimal = word.trim_start_matches(['+', '-']).starts_with("0x");
    if !is_hexadecimal && word.contains(['.', 'e', 'E']) || word.ends_with("inf") || word.ends_with("nan") {
        "d"
    } else {
        "i"
    }
}

fn number(word: &str, signature: &str) -> Result<Value, Wrong> {
    let wrong = || format!("{word:?} is no value of type {signature:?}");
    if signature == "d" {
        return word.parse().map(Value::Double).map_err(|_| wrong());
    }
    let integer = integer(word).ok_or_else(wrong)?;
    let value = match signature {
        "y" => integer.try_into().ok().map(Value::Byte),
        "n" => integer.try_into().ok().map(Value::Int16),
        "q" => integer.try_into().ok().map(Value::Uint16),
        "i" => integer.try_into().ok().map(Value::Int32),
        "u" => integer.try_into().ok().map(Value::Uint32),
        "x" => integer.try_into().ok().map(Value::Int64),
        "t" => integer.try_into().ok().map(Value::Uint64),
        _ => None,
    };
    value.ok_or_else(wrong)
}

/// Decimal, octal with a leading 0, or hexadecimal with a leading 0x, with a sign.
fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(hexadecimal), _) => u64::from_str_radix(hexadecimal, 16),
        (None, Some(octal)) if !octal.is_empty() => u64::from_str_radix(octal, 8),
        _ => digits.parse(),
    };
    let magnitude = i128::from(magnitude.ok()?);
    Some(if negative { -magnitude } else { magnitude })
}

/// The first complete type of a signature, and what follows it.
pub fn split_type(signature: &str) -> Option<(&str, &str)> {
    let end = end_of_type(signature.as_bytes(), 0)?;
    Some(signature.split_at(end))
}

fn end_of_type(signature: &[u8], depth: usize) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    match signature.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => {
            Some(1)
        }
        b'a' if signature.get(1) == Some(&b'{') => {
            let key = signature.get(2).filter(|key| b"ybnqiuxtdsog".contains(key)).map(|_| 3)?;
            let value = end_of_type(&signature[key..], depth + 1)?;
            (signature.get(key + value) == Some(&b'}')).then_some(key + value + 1)
        }
        b'a' => Some(1 + end_of_type(&signature[1..], depth + 1)?),
        b'(' => {
            let mut at = 1;
            while signature.get(at) != Some(&b')') {
                at += end_of_type(&signature[at..], depth + 1)?;
            }
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

fn is_one_type(signature: &str) -> bool {
    matches!(split_type(signature), Some((_, "")))
}

fn is_signature(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = split_type(rest) {
        rest = after;
    }
    text.len() <= 255 && rest.is_empty()
}

fn split_types(mut signature: &str) -> Vec<&str> {
    let mut types = Vec::new();
    while let Some((first, rest)) = split_type(signature) {
        types.push(first);
        signature = rest;
    }
    types
}

/// D-Bus specification, "Valid Object Paths".
fn is_object_path(text: &str) -> bool {
    let is_element =
        |element: &str| !element.is_empty() && element.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_element))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, signature: &str, shown: &str) {
        let value = parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        assert_eq!((value.signature().as_str(), value.to_string().as_str()), (signature, shown), "{text}");
        assert_eq!(parse(&value.to_string()), Ok(value), "what is printed can be read again");
    }

    #[test]
    fn values_have_the_types_of_the_text_format() {
        check("true", "b", "true");
        check(" false ", "b", "false");
        check("5", "i", "5");
        check("-0x10", "i", "-16");
        check("010", "i", "8");
        check("uint64 1000000", "t", "uint64 1000000");
        check("@t 0xffffffffffffffff", "t", "uint64 18446744073709551615");
        check("byte 7", "y", "byte 0x07");
        check("int16 -1", "n", "int16 -1");
        check("uint16 1", "q", "uint16 1");
        check("uint32 1", "u", "uint32 1");
        check("int64 -1", "x", "int64 -1");
        check("1.5", "d", "1.5");
        check("1e3", "d", "1000.0");
        check("double 2", "d", "2.0");
        check("'a \\'b\\' \\u00e9'", "s", "'a \\'b\\' é'");
        check("\"it's\"", "s", "'it\\'s'");
        check("objectpath '/a/b'", "o", "objectpath '/a/b'");
        check("signature 'a(ss)'", "g", "signature 'a(ss)'");
        check("<'x'>", "v", "<'x'>");
        check("['a', 'b']", "as", "['a', 'b']");
        check("[uint64 1, 2]", "at", "[uint64 1, uint64 2]");
        check("@as []", "as", "@as []");
        check("[byte 0x01, 0xff]", "ay", "[byte 0x01, 0xff]");
        check("b'hi'", "ay", "[byte 0x68, 0x69, 0x00]");
        check("('a', uint32 1)", "(su)", "('a', uint32 1)");
        check("(1,)", "(i)", "(1,)");
        check("[('/dev/null', 'rw')]", "a(ss)", "[('/dev/null', 'rw')]");
        check("@a(ss) [('a', 'b')]", "a(ss)", "[('a', 'b')]");
        check("{'a': <1>, 'b': <'c'>}", "a{sv}", "{'a': <1>, 'b': <'c'>}");
        check("@a{sv} {}", "a{sv}", "@a{sv} []");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            " ",
            "'",
            "'a",
            "a",
            "5 6",
            "[1, 'a']",
            "[]",
            "{}",
            "()",
            "(1",
            "[1",
            "[1 2]",
            "uint64 -1",
            "byte 256",
            "int32 99999999999",
            "@ 5",
            "@z 5",
            "@a{vs} {}",
            "@t",
            "@t 'x'",
            "nothing",
            "just 5",
            "handle 3",
            "1.2.3",
            "0x",
            "'\\u12'",
            "'\\u0000'",
            "'\0'",
            "objectpath 'a'",
            "objectpath '/a/'",
            "signature '('",
            "{<1>: 2}",
            "{[1]: 2}",
            "-",
            "+",
            "b",
            "@(s) ('a', 'b')",
            "'a' junk",
        ] {
            assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(parse(&format!("{}1{}", "[".repeat(15), "]".repeat(15))).is_ok());
        assert!(parse(&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))).is_err());
        assert!(parse(&format!("@{}i []", "a".repeat(60_000))).is_err());
        assert!(parse(&format!("'{}'", "x".repeat(LONGEST))).is_err());
    }
}
