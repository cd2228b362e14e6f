//! A distribution as text: HdrHistogram's compressed V2 encoding in base64, as every reader of HDR logs knows it.

use super::Hist;

/// Why a stored distribution cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not base64.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Something else than a compressed V2 histogram.
    #[error("not a compressed V2 histogram: {0}")]
    Format(&'static str),
    /// It says of itself that it is no distribution of ours.
    #[error("a histogram of another kind: {0}")]
    Foreign(&'static str),
    /// Minimum, maximum or mean stored beside it do not fit.
    #[error("the stored minimum, maximum and mean do not fit the histogram")]
    Exact,
}

impl Hist {
    /// The distribution as base64 text (`hdr_base64`). Exact minimum, maximum and mean are not in it.
    pub fn encode(&self) -> String {
        todo!()
    }

    /// Reads [`Hist::encode`]'s text. The text may come from anywhere: what it claims is checked before memory is given.
    ///
    /// # Errors
    /// When it is no such text, or describes a histogram of other precision.
    pub fn decode(text: &str) -> Result<Hist, DecodeError> {
        todo!()
    }

    /// Puts the exact minimum, maximum and mean that are stored beside the text back.
    ///
    /// # Errors
    /// When they cannot belong to these values.
    pub fn with_exact(self, min_ns: u64, max_ns: u64, mean_ns: f64) -> Result<Hist, DecodeError> {
        todo!()
    }
}
