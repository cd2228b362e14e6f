//! The interface by which the client machine asks for the content of a transaction. `mail` implements it.

/// The rest of a content cannot be read, for example because a file was removed. Holds the reason as a sentence
/// fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

/// The content of one transaction. It is rendered on demand into the driver's buffer, without an allocation for each
/// message.
pub trait Content {
    /// Appends the mailbox of the reverse path, without the angle brackets. Appends nothing for the null reverse path
    /// (RFC 5321 4.5.5).
    fn sender(&self, out: &mut Vec<u8>);

    /// Returns the number of recipients.
    fn recipients(&self) -> u32;

    /// Appends the mailbox of recipient `index` (from 0), without the angle brackets.
    fn recipient(&self, index: u32, out: &mut Vec<u8>);

    /// Returns the size of the content in bytes before dot stuffing, without the final dot: the value of `SIZE=` (RFC
    /// 1870).
    fn size(&self) -> u64;

    /// Appends the next piece of the unstuffed content from `offset`, dot-stuffed (RFC 5321 4.5.2), of about 64 KiB at
    /// most. Returns the new offset. When it reaches [`size`](Content::size), the end of data, `.` CRLF, is appended
    /// too (the content ends in CRLF).
    ///
    /// # Errors
    /// The bytes cannot be read any more, which is a failure of the generator. The caller must drop what was appended.
    fn body(&self, offset: u64, out: &mut Vec<u8>) -> Result<u64, Lost>;

    /// Appends the unstuffed content from `offset` on for BDAT (RFC 3030 section 2): at most `limit` bytes, and about
    /// 64 KiB at most. Returns the new offset, which is larger than `offset` unless the content ends there or `limit`
    /// is 0.
    ///
    /// # Errors
    /// The same as for [`body`](Content::body).
    fn raw(&self, offset: u64, limit: u64, out: &mut Vec<u8>) -> Result<u64, Lost>;

    /// Appends an identifier that is unique to this message: the value of `ENVID=` (RFC 3461 4.4), in xtext.
    fn envelope_id(&self, out: &mut Vec<u8>);
}
