//! Writes and reads a distribution as text: HdrHistogram's compressed V2 encoding in base64, which all readers of HDR
//! logs understand.
//!
//! # Decisions
//! - The library writes and reads the encoding. Its reader trusts the lengths in the data, and would reserve gigabytes for
//!   a text of fifty bytes. Result files are untrusted input, so the data is inflated with a limit, and its header is
//!   checked, before the library reads it.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::{Hist, SIGNIFICANT_DIGITS, bucket};

/// Why a stored distribution cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The text is not base64.
    #[error("not base64")]
    Base64(#[from] base64::DecodeError),
    /// The data is malformed.
    #[error("not a compressed V2 histogram: {0}")]
    Format(&'static str),
    /// The data is a histogram of another kind.
    #[error("a histogram of another kind: {0}")]
    Foreign(&'static str),
    /// The stored minimum, maximum or mean do not fit the histogram.
    #[error("the stored minimum, maximum or mean do not fit the histogram")]
    Exact,
}

/// The cookies of the encodings "Compressed V2" and "V2", with the flag for numbers of variable length.
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;
const COOKIE: u32 = 0x1c84_9313;
/// The length of the uncompressed header in bytes: cookie, length, offset, digits, lowest, highest, ratio.
const HEADER: usize = 40;
/// The number of buckets of a histogram over all of u64 with three digits: 1024 below 2^10, and 1024 for each power of two
/// from 2^10 on.
const BUCKETS: u64 = 1024 * (64 - 10 + 1);
/// The greatest length of inflated data, in bytes: the header, and at most nine bytes for each bucket.
const LONGEST: u64 = HEADER as u64 + 9 * BUCKETS;

impl Hist {
    /// Encodes the distribution as base64 text (`hdr_base64`), without exact minimum, maximum and mean.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.to_hdr(), &mut bytes)
            .expect("a histogram that fits in memory is written into memory");
        STANDARD.encode(bytes)
    }

    /// Decodes the text of [`Hist::encode`]. The text is untrusted: each field is checked before it is used, and memory
    /// is limited.
    ///
    /// # Errors
    /// The text is not such a histogram, or has another precision.
    pub fn decode(text: &str) -> Result<Hist, DecodeError> {
        if text.len() as u64 > LONGEST * 2 {
            return Err(DecodeError::Format("too long"));
        }
        let bytes = STANDARD.decode(text)?;
        let mut compressed = bytes.as_slice();
        if number(&mut compressed)? != COMPRESSED_COOKIE {
            return Err(DecodeError::Format("it begins with another mark"));
        }
        if number(&mut compressed)? as usize != compressed.len() {
            return Err(DecodeError::Format("its length is not what it says"));
        }
        let mut plain = Vec::new();
        ZlibDecoder::new(compressed)
            .take(LONGEST + 1)
            .read_to_end(&mut plain)
            .map_err(|_| DecodeError::Format("it cannot be inflated"))?;
        if plain.len() as u64 > LONGEST {
            return Err(DecodeError::Format("it inflates to more than a histogram can take"));
        }
        header(&plain)?;
        let inner: Histogram<u64> = Deserializer::new()
            .deserialize(&mut plain.as_slice())
            .map_err(|_| DecodeError::Format("its counts do not fit its bounds"))?;
        adopt(inner)
    }

    /// Restores the exact minimum, maximum and mean that are stored beside the text.
    ///
    /// # Errors
    /// These numbers do not fit the histogram.
    pub fn with_exact(mut self, min_ns: u64, max_ns: u64, mean_ns: f64) -> Result<Hist, DecodeError> {
        if self.is_empty() {
            return Ok(self);
        }
        let same = |a, b| bucket(a) == bucket(b);
        let within = min_ns as f64 <= mean_ns && mean_ns <= max_ns as f64;
        if !(same(min_ns, self.min) && same(max_ns, self.max) && within) {
            return Err(DecodeError::Exact);
        }
        self.sum = (mean_ns * self.count() as f64).round() as u128;
        (self.min, self.max) = (min_ns, max_ns);
        Ok(self)
    }
}

fn number(from: &mut &[u8]) -> Result<u32, DecodeError> {
    let (bytes, rest) = from.split_first_chunk().ok_or(DecodeError::Format("it is cut short"))?;
    *from = rest;
    Ok(u32::from_be_bytes(*bytes))
}

fn header(mut plain: &[u8]) -> Result<(), DecodeError> {
    let plain = &mut plain;
    if number(plain)? != COOKIE {
        return Err(DecodeError::Format("what it holds begins with another mark"));
    }
    let length = number(plain)? as usize;
    if number(plain)? != 0 {
        return Err(DecodeError::Foreign("it is shifted"));
    }
    if number(plain)? != u32::from(SIGNIFICANT_DIGITS) {
        return Err(DecodeError::Foreign("it does not have three significant digits"));
    }
    if (number(plain)?, number(plain)?) != (0, 1) {
        return Err(DecodeError::Foreign("its unit is not the nanosecond"));
    }
    let _highest = (number(plain)?, number(plain)?);
    if (number(plain)?, number(plain)?) != (0x3ff0_0000, 0) {
        return Err(DecodeError::Foreign("its values are scaled"));
    }
    if length != plain.len() {
        return Err(DecodeError::Format("what it holds has another length than it says"));
    }
    // Nine bytes 0xff encode a run of i64::MIN empty buckets. No histogram has such a run, and the library overflows when it
    // negates the number.
    if plain.windows(9).any(|bytes| bytes == [0xff; 9]) {
        return Err(DecodeError::Format("it has more empty buckets than there are values"));
    }
    Ok(())
}

/// Converts the library's histogram, with minimum, maximum and sum estimated from the buckets.
fn adopt(inner: Histogram<u64>) -> Result<Hist, DecodeError> {
    let mut hist = Hist::default();
    // Makes room for all buckets at once: until all counts are added, minimum and maximum do not enclose them.
    hist.reach(bucket(inner.min())..bucket(inner.max()) + 1);
    for step in inner.iter_recorded() {
        let (value, count) = (step.value_iterated_to(), step.count_at_value());
        hist.total = hist.total.checked_add(count).ok_or(DecodeError::Format("its counts overflow"))?;
        hist.sum = hist.sum.saturating_add(u128::from(inner.median_equivalent(value)) * u128::from(count));
        *hist.at(bucket(value)) += count;
    }
    if hist.total > 0 {
        (hist.min, hist.max) = (inner.min(), inner.max());
    }
    Ok(hist)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn wrap(plain: &[u8]) -> String {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(plain).unwrap();
        let compressed = zlib.finish().unwrap();
        let mut bytes = COMPRESSED_COOKIE.to_be_bytes().to_vec();
        bytes.extend((compressed.len() as u32).to_be_bytes());
        bytes.extend(compressed);
        STANDARD.encode(bytes)
    }

    fn plain(length: u32, digits: u32, payload: &[u8]) -> Vec<u8> {
        let mut plain = COOKIE.to_be_bytes().to_vec();
        plain.extend(length.to_be_bytes());
        plain.extend(0_u32.to_be_bytes());
        plain.extend(digits.to_be_bytes());
        plain.extend(1_u64.to_be_bytes());
        plain.extend((1_u64 << 30).to_be_bytes());
        plain.extend(1_f64.to_be_bytes());
        plain.extend(payload);
        plain
    }

    fn fault(text: &str) -> String {
        Hist::decode(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn hostile_texts_are_refused_before_they_cost_memory() {
        assert!(Hist::decode(&wrap(&plain(1, 3, &[2]))).is_ok());
        assert_eq!(fault("***"), "not base64");
        assert!(fault("").contains("cut short"));
        assert!(fault(&STANDARD.encode([0; 60])).contains("another mark"));
        assert!(fault(&"A".repeat(2_000_000)).contains("too long"));
        // The header states four gigabytes, and one byte follows.
        assert!(fault(&wrap(&plain(u32::MAX, 3, &[2]))).contains("another length"));
        // A zlib bomb.
        assert!(fault(&wrap(&vec![0; 50_000_000])).contains("inflates to more"));
        assert!(fault(&wrap(&plain(1, 5, &[2]))).contains("three significant digits"));
        assert!(fault(&wrap(&plain(1, 3, &[0x80]))).contains("its bounds"));
        // i64::MIN empty buckets, then a value.
        let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(fault(&wrap(&plain(10, 3, &far))).contains("more empty buckets"));
        let beyond = [0xff, 0xff, 0xff, 0x0f, 2];
        assert!(fault(&wrap(&plain(5, 3, &beyond))).contains("its bounds"));
        // i64::MAX three times.
        let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(fault(&wrap(&plain(27, 3, &most.repeat(3)))).contains("overflow"));
        let mut bytes = STANDARD.decode(wrap(&plain(1, 3, &[2]))).unwrap();
        bytes.push(0);
        assert!(fault(&STANDARD.encode(bytes)).contains("its length"));
    }

    #[test]
    fn exact_numbers_are_put_back_only_where_they_fit() {
        let mut hist = Hist::default();
        [0, 1_234_567, 98_765_432].into_iter().for_each(|ns| hist.record(ns));
        let read = || Hist::decode(&hist.encode()).unwrap();
        let whole = read().with_exact(0, 98_765_432, hist.mean_ns()).unwrap();
        assert_eq!((whole.min_ns(), whole.max_ns()), (0, 98_765_432));
        assert_eq!(whole.sum_ns(), hist.sum_ns());
        assert!(read().with_exact(0, 99_765_432, hist.mean_ns()).is_err());
        assert!(read().with_exact(5, 98_765_432, hist.mean_ns()).is_err());
        assert!(read().with_exact(0, 98_765_432, f64::NAN).is_err());
        assert!(Hist::decode(&Hist::default().encode()).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_count_by_count(
            values in proptest::collection::vec(0_u64..=u64::MAX, 0..200),
            small in proptest::collection::vec(0_u64..5_000, 0..200),
        ) {
            let mut hist = Hist::default();
            values.iter().chain(&small).for_each(|ns| hist.record(*ns));
            let read = Hist::decode(&hist.encode()).unwrap();
            prop_assert!(read.buckets().eq(hist.buckets()));
            prop_assert_eq!(bucket(read.max_ns()), bucket(hist.max_ns()));
            // A decoded distribution can be added to and merged.
            let mut both = read.clone();
            both.merge(&hist);
            both.record(u64::MAX);
            prop_assert_eq!(both.count(), 2 * hist.count() + 1);
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Hist::decode(&wrap(&plain(payload.len() as u32, 3, &payload)));
            let _ = Hist::decode(&STANDARD.encode(&payload));
        }
    }
}
