//! Where the header fields of a message are.

use std::ops::Range;

use super::parse::pos;
use crate::{
    header::HeaderName,
    text::{find_near, is_lws},
};

/// A message with more fields than this, or with any that begins or ends beyond 64 KB, keeps their
/// places on the heap; one with fewer allocates nothing.
const INLINE: usize = 32;

/// The header fields of one message, in order.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// The [codes](HeaderName::code) of the names of `inline`, apart from the places: to look one up
    /// reads a few words. 0 for an unknown one.
    names: [u8; INLINE],
    inline: [Near; INLINE],
    len: u8,
    /// All of them, once they do not fit `inline`.
    spilled: Vec<Field>,
}

/// One header field's place in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Option<HeaderName>,
    pub(super) start: u32,
    pub(super) value_start: u32,
    pub(super) value_end: u32,
}

/// The place of a [`Field`] within the first 64 KB.
#[derive(Debug, Clone, Copy)]
struct Near {
    start: u16,
    value_start: u16,
    value_end: u16,
}

impl Fields {
    pub(super) const fn new() -> Self {
        const NOWHERE: Near = Near {
            start: 0,
            value_start: 0,
            value_end: 0,
        };
        Self {
            names: [0; INLINE],
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

    #[inline]
    pub(super) fn push(&mut self, field: Field) {
        let at = usize::from(self.len);
        if at < INLINE
            && self.spilled.is_empty()
            && let Some(near) = Near::new(field)
        {
            self.names[at] = field.name.map_or(0, HeaderName::code);
            self.inline[at] = near;
            self.len += 1;
            return;
        }
        if self.spilled.is_empty() {
            self.spilled = self.iter().collect();
        }
        self.spilled.push(field);
    }

    /// The field at an index below [`Fields::len`].
    pub(super) fn at(&self, index: usize) -> Field {
        if self.spilled.is_empty() {
            let near = self.inline[index];
            Field {
                name: HeaderName::of_code(self.names[index]),
                start: near.start.into(),
                value_start: near.value_start.into(),
                value_end: near.value_end.into(),
            }
        } else {
            self.spilled[index]
        }
    }

    /// Adds fields of another message, whose `octets` are copied to `at` in this one.
    pub(super) fn copy(
        &mut self,
        from: &Self,
        fields: Range<usize>,
        octets: Range<usize>,
        at: usize,
    ) {
        let len = usize::from(self.len);
        let until = len + fields.len();
        let ends = u16::try_from(octets.end)
            .ok()
            .zip(u16::try_from(at + octets.len()).ok());
        match ends {
            Some((old, new))
                if until <= INLINE && self.spilled.is_empty() && from.spilled.is_empty() =>
            {
                let moved = new.wrapping_sub(old);
                self.names[len..until].copy_from_slice(&from.names[fields.clone()]);
                let places = self.inline[len..until].iter_mut();
                for (place, near) in places.zip(&from.inline[fields.clone()]) {
                    *place = near.moved(moved);
                }
                self.len += u8::try_from(fields.len()).unwrap_or_default();
            }
            _ => {
                for index in fields {
                    self.push(from.at(index).moved(octets.start, at));
                }
            }
        }
    }

    /// The index of the first field of a known name, from `from` on.
    pub(super) fn position(&self, name: HeaderName, from: usize) -> Option<usize> {
        if !self.spilled.is_empty() {
            let mut fields = self.spilled.iter().skip(from);
            return Some(from + fields.position(|field| field.name == Some(name))?);
        }
        let names = self.names.get(from..usize::from(self.len))?;
        Some(from + find_near(names, name.code())?)
    }

    pub(super) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = Field> + DoubleEndedIterator + Clone + '_ {
        (0..self.len()).map(|index| self.at(index))
    }
}

impl Field {
    /// This field, once what began at `from` begins at `to`.
    fn moved(self, from: usize, to: usize) -> Self {
        let moved = |at: u32| pos(at as usize - from + to);
        Self {
            name: self.name,
            start: moved(self.start),
            value_start: moved(self.value_start),
            value_end: moved(self.value_end),
        }
    }

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
    /// `by`: how far up, or down by wrapping around.
    const fn moved(self, by: u16) -> Self {
        Self {
            start: self.start.wrapping_add(by),
            value_start: self.value_start.wrapping_add(by),
            value_end: self.value_end.wrapping_add(by),
        }
    }

    fn new(field: Field) -> Option<Self> {
        Some(Self {
            start: u16::try_from(field.start).ok()?,
            value_start: u16::try_from(field.value_start).ok()?,
            value_end: u16::try_from(field.value_end).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(at: u32) -> Field {
        let is_third = at.is_multiple_of(3);
        Field {
            name: is_third.then_some(HeaderName::Via),
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
            let thirds = starts
                .iter()
                .copied()
                .filter(|start| start.is_multiple_of(3));
            let next = |from| fields.position(HeaderName::Via, from);
            let found = std::iter::successors(next(0), |at| next(at + 1));
            assert!(found.map(|at| fields.at(at).start).eq(thirds));
            assert_eq!(fields.position(HeaderName::To, 0), None);
            assert_eq!(fields.position(HeaderName::Via, count), None);
        }
    }
}
