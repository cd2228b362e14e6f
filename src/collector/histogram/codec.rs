//! Writes and reads a distribution as text: HdrHistogram's compressed V2 encoding in base64, which all readers of HDR
//! logs understand.
//!
//! A text is: cookie and length of what follows (4 bytes each, big endian), then, deflated with zlib, a header of 40
//! bytes and the count of each bucket from the first to that of the greatest value. A negative number stands for that
//! many empty buckets.
//!
//! # Decisions
//! - The counts are written from and read into our own buckets, which are those of the library. The library's writer and
//!   reader go through a histogram of its own, of 170 kB, several times: for the distributions of each second that took
//!   more CPU time than all else in the collecting thread. Tests compare the encoding with the library's.
//! - Result files are untrusted input. The data is inflated with a limit, and the lengths in it reserve nothing.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Hist, OCTAVE, SIGNIFICANT_DIGITS, bucket, greatest, least, octave};

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
const OUT_OF_BOUNDS: DecodeError = DecodeError::Format("its counts do not fit its bounds");

/// Encodes distributions. It keeps its buffers and the state of its compressor from one distribution to the next.
pub struct Encoder {
    plain: Vec<u8>,
    deflate: Compress,
    wrapped: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        let deflate = Compress::new(Compression::default(), true);
        Encoder { plain: Vec::new(), deflate, wrapped: Vec::new() }
    }
}

impl Encoder {
    /// Appends the text of [`Hist::encode`].
    pub fn append(&mut self, hist: &Hist, text: &mut String) {
        self.plain.clear();
        write_plain(hist, &mut self.plain);
        self.wrapped.clear();
        self.wrapped.extend(COMPRESSED_COOKIE.to_be_bytes());
        self.wrapped.extend([0; 4]);
        self.deflate.reset();
        loop {
            let taken = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            // The compressor writes into spare room only.
            self.wrapped.reserve(self.plain.len() / 2 + 64);
            let state =
                self.deflate.compress_vec(&self.plain[taken..], &mut self.wrapped, FlushCompress::Finish);
            if state.expect("a buffer can be deflated") == Status::StreamEnd {
                break;
            }
        }
        let length =
            u32::try_from(self.wrapped.len() - 8).expect("a distribution takes less than a megabyte");
        self.wrapped[4..8].copy_from_slice(&length.to_be_bytes());
        STANDARD.encode_string(&self.wrapped, text);
    }
}

impl Hist {
    /// Encodes the distribution as base64 text (`hdr_base64`), without exact minimum, maximum and mean.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        Encoder::default().append(self, &mut text);
        text
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
        let mut plain = plain.as_slice();
        let end = header(&mut plain)?;
        counts(plain, end)
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

/// Appends the uncompressed V2 encoding.
fn write_plain(hist: &Hist, plain: &mut Vec<u8>) {
    plain.extend(COOKIE.to_be_bytes());
    plain.extend([0; 4]);
    plain.extend(0_u32.to_be_bytes());
    plain.extend(u32::from(SIGNIFICANT_DIGITS).to_be_bytes());
    plain.extend(1_u64.to_be_bytes());
    // At least twice the lowest value. A reader has no bucket above it.
    plain.extend(hist.max_read().max(2).to_be_bytes());
    plain.extend(1_f64.to_be_bytes());
    let filled = hist.filled();
    let mut empty = filled.start;
    for count in hist.held(filled) {
        if *count == 0 {
            empty += 1;
            continue;
        }
        write_empty(std::mem::take(&mut empty), plain);
        write_number(i64::try_from(*count).unwrap_or(i64::MAX), plain);
    }
    if hist.is_empty() {
        write_number(0, plain);
    }
    let length = u32::try_from(plain.len() - HEADER).expect("a distribution takes less than a megabyte");
    plain[4..8].copy_from_slice(&length.to_be_bytes());
}

/// Appends a number of empty buckets.
fn write_empty(buckets: usize, plain: &mut Vec<u8>) {
    match i64::try_from(buckets).expect("buckets are few") {
        0 => {}
        1 => write_number(0, plain),
        several => write_number(-several, plain),
    }
}

/// Appends a number of variable length (LEB128-64b9B): zigzag, so that numbers near 0 are short, seven bits in each of
/// up to eight bytes, then eight bits.
fn write_number(number: i64, plain: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        if rest < 0x80 {
            break;
        }
        plain.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    plain.push(rest as u8);
}

/// Reads a number that [`write_number`] wrote; `None` if it is cut short.
fn read_number(plain: &mut &[u8]) -> Option<i64> {
    let mut read = 0;
    for place in 0..9 {
        let (byte, rest) = plain.split_first()?;
        *plain = rest;
        let is_last = *byte < 0x80 || place == 8;
        let bits = if is_last { *byte } else { byte & 0x7f };
        read |= u64::from(bits) << (7 * place);
        if is_last {
            break;
        }
    }
    Some((read >> 1).cast_signed() ^ -(read & 1).cast_signed())
}

fn number(from: &mut &[u8]) -> Result<u32, DecodeError> {
    let (bytes, rest) = from.split_first_chunk().ok_or(DecodeError::Format("it is cut short"))?;
    *from = rest;
    Ok(u32::from_be_bytes(*bytes))
}

/// Reads the header. Returns the number of buckets that the histogram may have.
fn header(plain: &mut &[u8]) -> Result<usize, DecodeError> {
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
    let highest = u64::from(number(plain)?) << 32 | u64::from(number(plain)?);
    if (number(plain)?, number(plain)?) != (0x3ff0_0000, 0) {
        return Err(DecodeError::Foreign("its values are scaled"));
    }
    if length != plain.len() {
        return Err(DecodeError::Format("what it holds has another length than it says"));
    }
    // Whole octaves, of which the first two hold single values.
    Ok((bucket(highest) + 1).next_multiple_of(OCTAVE).max(2 * OCTAVE))
}

/// Reads the counts of at most `end` buckets. Minimum, maximum and sum are estimated from the buckets.
fn counts(mut plain: &[u8], end: usize) -> Result<Hist, DecodeError> {
    let mut read = Vec::new();
    let mut next = 0_usize;
    while !plain.is_empty() {
        let number = read_number(&mut plain).ok_or(OUT_OF_BOUNDS)?;
        let buckets = match number {
            1.. if next < end => {
                read.push((next, number.unsigned_abs()));
                1
            }
            0.. => 1,
            i64::MIN => return Err(DecodeError::Format("it has more empty buckets than there are values")),
            _ => usize::try_from(number.unsigned_abs()).map_err(|_| OUT_OF_BOUNDS)?,
        };
        next = next.checked_add(buckets).filter(|next| *next <= end).ok_or(OUT_OF_BOUNDS)?;
    }
    let mut hist = Hist::default();
    let (Some((lowest, _)), Some((highest, _))) = (read.first(), read.last()) else { return Ok(hist) };
    let (min, max) = (least(*lowest), greatest(*highest));
    // Makes room for all buckets at once: until all counts are added, minimum and maximum do not enclose them.
    hist.reach(bucket(min)..bucket(max) + 1);
    for (bucket, count) in read {
        hist.total = hist.total.checked_add(count).ok_or(DecodeError::Format("its counts overflow"))?;
        let middle = least(bucket) + ((1 << octave(bucket)) >> 1);
        hist.sum = hist.sum.saturating_add(u128::from(middle) * u128::from(count));
        // Another program may count zeros in a bucket of their own.
        *hist.at(bucket.max(1)) += count;
    }
    (hist.min, hist.max) = (min, max);
    Ok(hist)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::ZlibEncoder;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
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

    #[test]
    fn a_bucket_of_zeros_is_read_as_the_library_reads_it() {
        let mut library = Histogram::<u64>::new_with_bounds(1, 1 << 30, SIGNIFICANT_DIGITS).unwrap();
        [0, 0, 1, 5, 3_000_000].into_iter().for_each(|ns| library.record(ns).unwrap());
        let mut plain = Vec::new();
        V2Serializer::new().serialize(&library, &mut plain).unwrap();
        let read = Hist::decode(&wrap(&plain)).unwrap();
        assert_eq!((read.count(), read.min_ns(), read.max_ns()), (5, 0, library.max()));
        assert_eq!(read.buckets().next(), Some((1, 3)));
    }

    proptest! {
        #[test]
        fn the_encoding_is_the_librarys_and_its_reader_understands_it(
            values in proptest::collection::vec((any::<u64>(), 0_u32..64, 1_u64..10_000), 0..300),
        ) {
            let mut hist = Hist::default();
            for (ns, shift, times) in values {
                (0..times % 7).for_each(|_| hist.record(ns >> shift));
                *hist.at(bucket(ns >> shift)) += if times % 7 > 0 { times << 30 } else { 0 };
            }
            let library = hist.to_hdr();
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            write_plain(&hist, &mut ours);
            V2Serializer::new().serialize(&library, &mut theirs).unwrap();
            prop_assert!(ours == theirs, "of {:?}", hist.buckets().collect::<Vec<_>>());
            let bytes = STANDARD.decode(hist.encode()).unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let recorded = |hist: &Histogram<u64>| -> Vec<(u64, u64)> {
                hist.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
            };
            prop_assert_eq!(recorded(&read), recorded(&library));
            let own = Hist::decode(&wrap(&theirs)).unwrap();
            if !library.is_empty() {
                prop_assert_eq!((own.min_ns(), own.max_ns()), (library.min(), library.max()));
            }
            prop_assert!(own.buckets().eq(hist.buckets()));
        }

        #[test]
        fn an_encoder_that_is_used_again_writes_what_a_new_one_does(
            many in proptest::collection::vec(proptest::collection::vec(0_u64..1 << 40, 0..500), 1..5),
        ) {
            let mut encoder = Encoder::default();
            for values in many {
                let mut hist = Hist::default();
                values.into_iter().for_each(|ns| hist.record(ns));
                let mut text = "before ".to_owned();
                encoder.append(&hist, &mut text);
                prop_assert_eq!(text, format!("before {}", hist.encode()));
            }
        }

        #[test]
        fn numbers_of_each_length_are_read_back(number in any::<i64>(), shift in 0_u32..64) {
            let mut bytes = Vec::new();
            write_number(number >> shift, &mut bytes);
            prop_assert!(bytes.len() <= 9);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_number(&mut rest), Some(number >> shift));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read_number(&mut &bytes[..bytes.len() - 1]), None);
        }

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
            prop_assert_eq!(read.encode(), hist.encode());
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
