//! Keys heard as tones (ITU-T Q.23), by the criteria of Q.24: for parties that send no telephone events.
//!
//! Blocks of 12.75 ms are looked at for the eight frequencies (Goertzel's filters), with the last one twice, so that a
//! block begins every 6.375 ms. A block has a key where one low and one high frequency stand out from the others of their
//! group, carry nearly all of the block's energy, differ by less than the twist that lines make, are none of them the
//! fundamental of a voice with its harmonic, and are neither off by more than the tolerance. A key is one that several
//! blocks in a row have; it is told when it is let go of, or heard for longer than anybody speaks one tone.
