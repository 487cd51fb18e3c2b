//! What is heard in the place of audio that is missing: the last of it again, which fades, and then silence.

use crate::jitter::FRAME;

/// Samples until it has faded: 60 ms.
const FADE: i32 = 480;

/// What conceals losses in one sender's audio.
#[derive(Debug, Clone)]
pub(crate) struct Concealer {
    /// The last frame that was there, and its oldest sample.
    last: [i16; FRAME],
    oldest: usize,
    /// Samples that were concealed since.
    concealed: i32,
}

impl Default for Concealer {
    fn default() -> Self {
        Self {
            last: [0; FRAME],
            oldest: 0,
            concealed: FADE,
        }
    }
}

impl Concealer {
    /// Forgets what was heard: what follows is another sender's.
    pub(crate) const fn reset(&mut self) {
        self.concealed = FADE;
    }

    /// A sample was there.
    pub(crate) const fn heard(&mut self, sample: i16) {
        self.last[self.oldest] = sample;
        self.oldest = (self.oldest + 1) % FRAME;
        self.concealed = 0;
    }

    /// The next sample is missing: what is heard in its place.
    pub(crate) fn missing(&mut self) -> i16 {
        if self.concealed >= FADE {
            return 0;
        }
        let sample = i32::from(self.last[self.oldest]) * (FADE - self.concealed) / FADE;
        self.oldest = (self.oldest + 1) % FRAME;
        self.concealed += 1;
        i16::try_from(sample).unwrap_or(0)
    }
}
