//! Where the header fields of a message are.

use crate::{header::HeaderName, text::is_lws};

/// A message with more fields than this, or with any that begins or ends beyond 64 KB, keeps their
/// places on the heap; one with fewer allocates nothing.
const INLINE: usize = 32;

/// The header fields of one message, in order.
#[derive(Clone)]
pub(super) struct Fields {
    inline: [Near; INLINE],
    len: u8,
    /// All of them, once they do not fit `inline`.
    spilled: Vec<Field>,
}

/// One header field's place in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Option<HeaderName>,
    pub(super) start: u32,
    pub(super) value_start: u32,
    pub(super) value_end: u32,
}

/// A [`Field`] within the first 64 KB, in eight bytes.
#[derive(Clone, Copy)]
struct Near {
    start: u16,
    value_start: u16,
    value_end: u16,
    name: Option<HeaderName>,
}

impl Fields {
    pub(super) const fn new() -> Self {
        const NOWHERE: Near = Near {
            start: 0,
            value_start: 0,
            value_end: 0,
            name: None,
        };
        Self {
            inline: [NOWHERE; INLINE],
            len: 0,
            spilled: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        if self.spilled.is_empty() {
            usize::from(self.len)
        } else {
            self.spilled.len()
        }
    }

    pub(super) fn push(&mut self, field: Field) {
        if self.spilled.is_empty() {
            let slot = self.inline.get_mut(usize::from(self.len));
            if let (Some(slot), Some(near)) = (slot, Near::new(field)) {
                *slot = near;
                self.len += 1;
                return;
            }
            self.spilled = self.iter().collect();
        }
        self.spilled.push(field);
    }

    /// The field at an index below [`Fields::len`].
    pub(super) fn at(&self, index: usize) -> Field {
        if self.spilled.is_empty() {
            self.inline[index].into()
        } else {
            self.spilled[index]
        }
    }

    pub(super) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = Field> + DoubleEndedIterator + Clone + '_ {
        (0..self.len()).map(|index| self.at(index))
    }
}

impl Field {
    /// After the CR LF that ends the field, its folded lines included: behind the value stand only
    /// white space and, where lines of nothing else were folded, line ends.
    pub(super) fn end(&self, raw: &[u8]) -> usize {
        let mut at = self.value_end as usize;
        while raw.get(at).copied().is_some_and(is_lws) {
            let is_line_end = raw[at] == b'\n';
            at += 1;
            if is_line_end && !matches!(raw.get(at), Some(b' ' | b'\t')) {
                break;
            }
        }
        at
    }
}

impl Near {
    fn new(field: Field) -> Option<Self> {
        Some(Self {
            start: u16::try_from(field.start).ok()?,
            value_start: u16::try_from(field.value_start).ok()?,
            value_end: u16::try_from(field.value_end).ok()?,
            name: field.name,
        })
    }
}

impl From<Near> for Field {
    fn from(near: Near) -> Self {
        Self {
            name: near.name,
            start: near.start.into(),
            value_start: near.value_start.into(),
            value_end: near.value_end.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(at: u32) -> Field {
        Field {
            name: Some(HeaderName::Via),
            start: at,
            value_start: at + 5,
            value_end: at + 9,
        }
    }

    #[test]
    fn what_does_not_fit_in_place_is_kept_too() {
        for (count, step) in [(INLINE, 20), (INLINE + 1, 20), (3, 40_000)] {
            let mut fields = Fields::new();
            let starts: Vec<u32> = (0..count)
                .map(|n| u32::try_from(n).unwrap() * step)
                .collect();
            for start in &starts {
                fields.push(field(*start));
            }
            assert_eq!(fields.len(), count);
            let read: Vec<_> = fields.iter().map(|field| field.start).collect();
            assert_eq!(read, starts);
            let ends: Vec<_> = fields.iter().rev().map(|field| field.value_end).collect();
            assert_eq!(ends[0], starts[count - 1] + 9);
        }
    }
}
