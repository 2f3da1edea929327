//! A long stream of bytes of which every part is different, so that nothing can be lost, doubled or swapped unseen.

use std::io::{self, Write};

/// Length of one block, in bytes.
const BLOCK: usize = 4096;

/// Block number `number`: the number, and a letter that follows from it. Printable, so that no terminal minds.
fn block(number: usize) -> [u8; BLOCK] {
    let mut bytes = [b'a' + (number % 26) as u8; BLOCK];
    bytes[..16].copy_from_slice(format!("{number:016x}").as_bytes());
    bytes
}

/// Writes so many megabytes.
pub fn pour(megabytes: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    (0..megabytes * 1024 * 1024 / BLOCK).try_for_each(|number| out.write_all(&block(number)))?;
    out.flush()
}

/// Compares what arrives with what was poured.
#[derive(Debug, Default)]
pub struct Checker {
    /// How many bytes have arrived.
    pub length: usize,
    /// Where the first wrong byte is, when there is one.
    pub wrong: Option<usize>,
}

impl Checker {
    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let offset = self.length % BLOCK;
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - offset));
            if self.wrong.is_none() && block(self.length / BLOCK)[offset..offset + now.len()] != *now {
                self.wrong = Some(self.length);
            }
            self.length += now.len();
            bytes = later;
        }
    }
}
