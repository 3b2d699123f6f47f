//! The head of a Parquet data page: which of its rows have a value, and where the values lie.
//!
//! Source: parquet-format, `PageHeader` in Thrift's compact protocol; levels in the RLE and bit-packing hybrid. Only what
//! a flat column in plain, uncompressed pages needs is understood; all else is told apart, never guessed.

use std::collections::BTreeMap;
use std::ops::Range;

/// One data page.
#[derive(Debug, PartialEq)]
pub(super) struct DataPage {
    /// For each row whether it has a value.
    pub present: Vec<bool>,
    /// Bytes of the values, counted from the page's first byte; their end is the page's end.
    pub values: Range<usize>,
}

/// Why a head was not understood.
#[derive(Debug, PartialEq)]
pub(super) enum Unread {
    /// It goes on after the bytes that were given.
    Short,
    /// It is damaged, or pages are stored in another way: what was found.
    Foreign(String),
}

/// Thrift ids of the fields that are used, as `(field of PageHeader, field within it)`.
mod field {
    pub const KIND: (i64, i64) = (0, 1);
    pub const PLAIN_LEN: (i64, i64) = (0, 2);
    pub const STORED_LEN: (i64, i64) = (0, 3);
    pub const V1_ROWS: (i64, i64) = (5, 1);
    pub const V1_ENCODING: (i64, i64) = (5, 2);
    pub const V1_LEVELS: (i64, i64) = (5, 3);
    pub const V2_ROWS: (i64, i64) = (8, 1);
    pub const V2_ENCODING: (i64, i64) = (8, 4);
    pub const V2_LEVELS_LEN: (i64, i64) = (8, 5);
    pub const V2_REPETITION_LEN: (i64, i64) = (8, 6);
}

/// `PageType` of the format.
const DATA_PAGE: i64 = 0;
const DATA_PAGE_V2: i64 = 3;
/// `Encoding` of the format.
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// Reads the head of a page of at most `max_rows` rows from its first bytes; `nullable` columns have levels.
pub(super) fn parse(bytes: &[u8], nullable: bool, max_rows: usize) -> Result<DataPage, Unread> {
    let mut reader = Reader { bytes, at: 0 };
    let mut numbers = BTreeMap::new();
    reader.numbers(0, 0, &mut numbers)?;
    let get = |place: (i64, i64)| numbers.get(&place).copied().ok_or_else(|| foreign("its header lacks a field"));
    let (rows, encoding) = match get(field::KIND)? {
        DATA_PAGE => (get(field::V1_ROWS)?, get(field::V1_ENCODING)?),
        DATA_PAGE_V2 => (get(field::V2_ROWS)?, get(field::V2_ENCODING)?),
        kind => return Err(foreign(format!("a page of type {kind}"))),
    };
    if encoding != PLAIN {
        return Err(foreign(format!("a page in encoding {encoding}")));
    }
    let stored_len = count(get(field::STORED_LEN)?, i32::MAX as usize)?;
    if get(field::PLAIN_LEN)? != stored_len as i64 {
        return Err(foreign("a compressed page"));
    }
    let (n_rows, body) = (count(rows, max_rows)?, reader.at);
    let levels_len = match (get(field::KIND)?, nullable) {
        (DATA_PAGE_V2, _) if get(field::V2_REPETITION_LEN)? != 0 => return Err(foreign("a page of nested values")),
        (DATA_PAGE_V2, _) => count(get(field::V2_LEVELS_LEN)?, stored_len)?,
        (_, false) => 0,
        (_, true) if get(field::V1_LEVELS)? != RLE => return Err(foreign("levels of an old kind")),
        (_, true) => count(i64::from(reader.u32()?), stored_len)?,
    };
    let levels = reader.take(levels_len)?;
    let present = if nullable { present(levels, n_rows)? } else { vec![true; n_rows] };
    if reader.at > body + stored_len {
        return Err(foreign("levels longer than their page"));
    }
    Ok(DataPage { present, values: reader.at..body + stored_len })
}

fn foreign(what: impl Into<String>) -> Unread {
    Unread::Foreign(what.into())
}

fn count(value: i64, limit: usize) -> Result<usize, Unread> {
    let known = usize::try_from(value).ok().filter(|&value| value <= limit);
    known.ok_or_else(|| foreign(format!("a count of {value} where {limit} is the most")))
}

/// Definition levels of one bit each, in the hybrid of runs and bit-packed groups of eight.
fn present(levels: &[u8], n_rows: usize) -> Result<Vec<bool>, Unread> {
    let ends_early = |unread| if unread == Unread::Short { foreign("levels that end early") } else { unread };
    let mut reader = Reader { bytes: levels, at: 0 };
    let mut present = Vec::with_capacity(n_rows);
    while present.len() < n_rows {
        let head = reader.varint().map_err(ends_early)?;
        let (n, left) = (head >> 1, n_rows - present.len());
        if n == 0 {
            return Err(foreign("an empty run of levels"));
        }
        if head & 1 == 0 {
            let level = reader.u8().map_err(ends_early)?;
            if n > left as u64 || level > 1 {
                return Err(foreign(format!("a run of {n} levels {level} for {left} rows")));
            }
            present.extend(std::iter::repeat_n(level == 1, n as usize));
        } else {
            if n > left.div_ceil(8) as u64 {
                return Err(foreign(format!("{n} groups of levels for {left} rows")));
            }
            let packed = reader.take(n as usize).map_err(ends_early)?;
            let bits = packed.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
            present.extend(bits.take(left));
        }
    }
    if reader.at != levels.len() { Err(foreign("levels for more rows than there are")) } else { Ok(present) }
}

/// Takes values off a slice from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unread> {
        let end = self.at.checked_add(n).ok_or(Unread::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Unread::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Unread> {
        self.take(1).map(|byte| byte[0])
    }

    fn u32(&mut self) -> Result<u32, Unread> {
        let mut value = [0; 4];
        value.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(value))
    }

    fn varint(&mut self) -> Result<u64, Unread> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(foreign("a number of more than nine bytes"))
    }

    fn zigzag(&mut self) -> Result<i64, Unread> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Walks over one struct; its whole numbers go to `numbers` under `(outer, id)`, those of structs within it are
    /// called by that struct's id, and what lies deeper or is text is passed over.
    fn numbers(&mut self, outer: i64, depth: u32, numbers: &mut BTreeMap<(i64, i64), i64>) -> Result<(), Unread> {
        let mut id = 0;
        loop {
            let head = self.u8()?;
            if head == 0 {
                return Ok(());
            }
            id = if head >> 4 == 0 { self.zigzag()? } else { id + i64::from(head >> 4) };
            let number = match head & 0xf {
                1 | 2 => i64::from(head & 0xf == 1),
                3 => i64::from(self.u8()?),
                4..=6 => self.zigzag()?,
                7 => self.take(8).map(|_| 0)?,
                8 => {
                    let n = self.varint()?;
                    self.take(usize::try_from(n).map_err(|_| Unread::Short)?).map(|_| 0)?
                }
                12 if depth < 3 => {
                    self.numbers(if depth == 0 { id } else { -1 }, depth + 1, numbers)?;
                    continue;
                }
                kind => return Err(foreign(format!("a header field of type {kind}"))),
            };
            numbers.insert((outer, id), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of version 1 with 3 rows, the second null: header, levels in one packed group, 6 bytes of values.
    const PAGE: [u8; 29] = [
        0x15, 0x00, 0x15, 0x18, 0x15, 0x18, 0x2c, 0x15, 0x06, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00, 2, 0, 0,
        0, 3, 0b101, 1, 2, 3, 4, 5, 6,
    ];

    #[test]
    fn a_page_written_by_hand_is_read() {
        let page = parse(&PAGE, true, 3).expect("a sound page");
        assert_eq!(page, DataPage { present: vec![true, false, true], values: 23..29 });
        for cut in 0..23 {
            assert_eq!(parse(&PAGE[..cut], true, 3), Err(Unread::Short), "{cut} bytes");
        }
        assert_eq!(parse(&PAGE[..23], true, 3), Ok(page), "values need not be there");
        assert!(matches!(parse(&PAGE, true, 2), Err(Unread::Foreign(_))), "more rows than the column has left");
    }

    #[test]
    fn no_bytes_make_it_panic_or_lie_about_the_length() {
        for at in 0..23 {
            for value in 0..=255 {
                let mut bytes = PAGE;
                bytes[at] = value;
                if let Ok(page) = parse(&bytes, true, 3) {
                    assert!(page.values.start <= page.values.end && page.present.len() <= 3, "byte {at} = {value}");
                }
            }
        }
    }

    #[test]
    fn levels_come_as_runs_and_as_packed_groups() {
        assert_eq!(present(&[6, 1, 4, 0], 5), Ok(vec![true, true, true, false, false]));
        assert_eq!(present(&[0x80, 0x02, 1], 128).map(|rows| rows.len()), Ok(128));
        let mixed = present(&[4, 1, 5, 0b1111_0000, 0b10], 12).expect("a run, then two groups");
        assert_eq!(mixed.iter().filter(|&&row| row).count(), 2 + 4 + 1);
        for wrong in [&[][..], &[6, 2], &[8, 1, 0], &[12, 1], &[0, 1], &[7, 1, 1], &[6, 1, 4, 0, 0]] {
            assert!(matches!(present(wrong, 5), Err(Unread::Foreign(_))), "{wrong:?}");
        }
    }
}
