//! The seam between a session and what it sends.

/// The content of one transaction, rendered on demand into the driver's buffer; no allocation per message.
pub trait Content {
    /// Appends the reverse path's mailbox, without `<>`.
    fn sender(&self, out: &mut Vec<u8>);
    /// The number of recipients, at least 1.
    fn recipients(&self) -> u32;
    /// Appends the mailbox of recipient `index` (from 0), without `<>`.
    fn recipient(&self, index: u32, out: &mut Vec<u8>);
    /// Octets of the content before dot stuffing, without the final dot.
    fn size(&self) -> u64;
    /// Appends the next piece from `offset` of the unstuffed content, dot-stuffed, at most about 64 KiB; returns the new
    /// offset. When that reaches [`Content::size`], the end of data (`.\r\n`) is appended too; content ends in CRLF.
    fn body(&self, offset: u64, out: &mut Vec<u8>) -> u64;
}
