//! CSV (RFC 4180): UTF-8 with a byte order mark, CRLF, and no cell that a spreadsheet takes for a formula.
//!
//! Source: contract extensions, "GET /api/customers.csv".

use std::borrow::Cow;

use actix_web::web::Bytes;
use csv::{Terminator, WriterBuilder};

/// What the file begins with: spreadsheets then read it as UTF-8.
pub(in crate::http) const BYTE_ORDER_MARK: &str = "\u{FEFF}";

/// Lines of cells as CSV.
pub(in crate::http) fn lines<Line, Cell>(lines: impl IntoIterator<Item = Line>) -> Bytes
where
    Line: IntoIterator<Item = Cell>,
    Cell: AsRef<str>,
{
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).flexible(true).from_writer(Vec::new());
    for line in lines {
        let cells = line.into_iter().map(|cell| harmless(cell.as_ref()).into_owned());
        // Writing to memory does not fail, and lines of different lengths are allowed.
        let _ = writer.write_record(cells);
    }
    writer.into_inner().unwrap_or_default().into()
}

/// A cell that begins like a formula begins with an apostrophe instead. A phone number cannot call anything and stays as it
/// is, because other programs read the file, too.
fn harmless(cell: &str) -> Cow<'_, str> {
    let is_phone = |c: char| c.is_ascii_digit() || c == ' ' || "+-()./".contains(c);
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !cell.chars().all(is_phone) {
        return Cow::Owned(format!("'{cell}"));
    }
    Cow::Borrowed(cell)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_that_begin_like_a_formula_are_harmless_and_phone_numbers_stay() {
        for (cell, expected) in [
            ("=HYPERLINK(\"http://evil\")", "'=HYPERLINK(\"http://evil\")"),
            ("+91 98123-45678", "+91 98123-45678"),
            ("+91 98123 x", "'+91 98123 x"),
            ("-5", "-5"),
            ("-5+cmd|' /C calc'!A0", "'-5+cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("a=b", "a=b"),
            ("(0)22 555.1/2", "(0)22 555.1/2"),
            ("=", "'="),
            ("", ""),
        ] {
            assert_eq!(harmless(cell), expected);
        }
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        let bytes = lines([vec!["a,b", "c\"d", "e\r\nf"], vec!["अनन्या", "", "x"]]);
        assert_eq!(bytes, "\"a,b\",\"c\"\"d\",\"e\r\nf\"\r\nअनन्या,,x\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(cells in proptest::collection::vec("[ -~\r\n\t\u{900}-\u{97F}]{0,12}", 2..6)) {
            let bytes = lines([&cells]);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&bytes[..]);
            let record = reader.records().next().unwrap().unwrap();
            let expected: Vec<_> = cells.iter().map(|cell| harmless(cell).into_owned()).collect();
            prop_assert_eq!(record.iter().collect::<Vec<_>>(), expected);
        }
    }
}
