//! The content of a transaction, as the client machine asks for it; `mail` makes it.

/// The rest of a content cannot be read, such as of a file that was removed: the reason, as a sentence fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

/// The content of one transaction, rendered on demand into the driver's buffer; no allocation per message.
pub trait Content {
    /// Appends the reverse path's mailbox, without the angle brackets; nothing for the null reverse path (RFC 5321 4.5.5).
    fn sender(&self, out: &mut Vec<u8>);

    /// How many recipients there are.
    fn recipients(&self) -> u32;

    /// Appends the mailbox of recipient `index` (from 0), without the angle brackets.
    fn recipient(&self, index: u32, out: &mut Vec<u8>);

    /// Octets of the content before dot stuffing, without the final dot: what `SIZE=` declares (RFC 1870).
    fn size(&self) -> u64;

    /// Appends the next piece from `offset` of the unstuffed content, dot-stuffed (RFC 5321 4.5.2), at most about 64 KiB.
    /// Returns the new offset; when it reaches [`size`](Content::size), the end of data, `.` CRLF, is appended too
    /// (the content ends in CRLF).
    ///
    /// # Errors
    /// The bytes cannot be read any more: a failure of the generator. What was appended is then of no use.
    fn body(&self, offset: u64, out: &mut Vec<u8>) -> Result<u64, Lost>;

    /// Appends the unstuffed content from `offset` on, as BDAT carries it (RFC 3030 section 2): at most `limit` octets, and
    /// at most about 64 KiB. Returns the new offset, which is larger than `offset` unless the content ends there or
    /// `limit` is 0.
    ///
    /// # Errors
    /// As of [`body`](Content::body).
    fn raw(&self, offset: u64, limit: u64, out: &mut Vec<u8>) -> Result<u64, Lost>;

    /// Appends what tells this message's envelope from any other: the value of `ENVID=` (RFC 3461 4.4), in xtext.
    fn envelope_id(&self, out: &mut Vec<u8>);
}
