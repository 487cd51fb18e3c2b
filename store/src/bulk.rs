//! Statements over many rows.

/// Rows in one statement: a database makes a plan of each text and keeps it, so there are few of them.
/// SQLite takes 32,766 parameters, PostgreSQL 65,535, and a row has 33 at most.
const SIZES: [usize; 4] = [256, 32, 4, 1];

/// How an engine writes a parameter.
#[derive(Clone, Copy)]
pub(crate) enum Marks {
    /// `?`: SQLite looks a numbered one up by its name, among all that there are.
    Plain,
    /// `$1`: PostgreSQL has no other.
    Numbered,
}

/// A statement in each of a few sizes.
pub(crate) struct Bulk([String; SIZES.len()]);

impl Bulk {
    /// `head`, in which `{}` is a parameter, a row of so many parameters for each row, and `tail`.
    pub(crate) fn new(marks: Marks, head: &str, columns: usize, tail: &str) -> Self {
        Self(SIZES.map(|rows| {
            let mut number = 0;
            let mut mark = || {
                number += 1;
                match marks {
                    Marks::Plain => "?".to_owned(),
                    Marks::Numbered => format!("${number}"),
                }
            };
            let mut text = String::new();
            for (at, part) in head.split("{}").enumerate() {
                if at > 0 {
                    text.push_str(&mark());
                }
                text.push_str(part);
            }
            for row in 0..rows {
                let marks: Vec<_> = (0..columns).map(|_| mark()).collect();
                let comma = if row > 0 { ", " } else { "" };
                text.push_str(&format!("{comma}({})", marks.join(", ")));
            }
            text + tail
        }))
    }

    /// All of `rows` in order, as many at once as there is a statement for.
    pub(crate) fn parts<'a, T>(
        &'static self,
        rows: &'a [T],
    ) -> impl Iterator<Item = (&'static str, &'a [T])> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let (text, size) = self
                .0
                .iter()
                .zip(SIZES)
                .find(|(_, size)| *size <= rest.len())?;
            let (part, others) = rest.split_at(size);
            rest = others;
            Some((text.as_str(), part))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn every_row_has_its_parameters() {
        let last = |marks| Bulk::new(marks, "a {} b ", 2, " c").0[2].clone();
        assert_eq!(last(Marks::Plain), "a ? b (?, ?), (?, ?), (?, ?), (?, ?) c");
        assert_eq!(
            last(Marks::Numbered),
            "a $1 b ($2, $3), ($4, $5), ($6, $7), ($8, $9) c"
        );
    }

    #[test]
    fn every_row_is_in_one_part() {
        static BULK: LazyLock<Bulk> = LazyLock::new(|| Bulk::new(Marks::Plain, "", 1, ""));
        for length in [0, 1, 3, 5, 255, 256, 600] {
            let rows: Vec<_> = (0..length).collect();
            let parts: Vec<_> = BULK.parts(&rows).collect();
            let marks = |text: &str| text.matches('?').count();
            assert!(parts.iter().all(|(text, part)| marks(text) == part.len()));
            let back: Vec<_> = parts.iter().flat_map(|(_, part)| *part).copied().collect();
            assert_eq!(back, rows);
        }
    }
}
