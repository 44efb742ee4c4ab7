//! How bytes are written in the document: hex digits, and text in quotes.

/// The bytes that `text` stands for; what is behind a `#` is a remark.
///
/// # Panics
/// If it is anything else.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, part) in text.split('"').enumerate() {
        if place % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let (digits, remark) = part.split_once('#').map_or((part, false), |(digits, _)| (digits, true));
        for word in digits.split_whitespace() {
            for pair in word.as_bytes().chunks(2) {
                let pair = str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
                let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                bytes.push(byte.unwrap_or_else(|| panic!("no hex digits: {word:?} in {text:?}")));
            }
        }
        if remark {
            break;
        }
    }
    bytes
}

/// 16 bytes.
///
/// # Panics
/// If it is anything else.
pub(super) fn sixteen(text: &str) -> [u8; 16] {
    bytes(text).try_into().unwrap_or_else(|_| panic!("not 16 bytes: {text:?}"))
}

/// The two columns of the lines of a table.
///
/// # Panics
/// If a line has no two.
pub(super) fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().map(|line| {
        let (left, right) = line.split_once('|').unwrap_or_else(|| panic!("no two columns: {line:?}"));
        (left.trim(), right.trim())
    })
}

#[test]
fn bytes_are_hex_digits_and_text() {
    assert_eq!(bytes("00ff 03 \"a #\" 01 # not 02"), b"\x00\xff\x03a #\x01");
    assert_eq!(bytes("\"\""), b"");
}
