//! The extensions that the listener offers in its answer to EHLO, and the errors for parameters of extensions that it
//! does not offer.

use super::limits::Dialect;
use crate::smtp::request::{BodyType, MailParameters, RcptParameters, RequestFault};

/// The extensions that can be chosen. SIZE and STARTTLS follow from the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: bool,
    /// REQUIRETLS (RFC 8689), in clear text too: a test can then show whether a client sends it without TLS.
    pub require_tls: bool,
}

impl Default for Offers {
    /// Returns the extensions for a profile without a list of extensions: PIPELINING and 8BITMIME.
    fn default() -> Self {
        Offers { pipelining: true, eight_bit_mime: true, ..Offers::NONE }
    }
}

impl Offers {
    /// No extension.
    pub const NONE: Offers = Offers {
        pipelining: false,
        eight_bit_mime: false,
        chunking: false,
        binary_mime: false,
        smtp_utf8: false,
        dsn: false,
        deliver_by: false,
        require_tls: false,
    };

    /// Returns the keywords in the order of the reply. ENHANCEDSTATUSCODES is offered only in Postfix's dialect, whose
    /// replies have the codes (RFC 2034 4). Only some of Cisco's replies have codes, after a `#`, and Exim's have none.
    pub(super) fn keywords(self, style: Dialect) -> impl Iterator<Item = &'static str> {
        [
            (self.eight_bit_mime, "8BITMIME"),
            (style == Dialect::Postfix, "ENHANCEDSTATUSCODES"),
            (self.chunking, "CHUNKING"),
            (self.binary_mime, "BINARYMIME"),
            (self.smtp_utf8, "SMTPUTF8"),
            (self.dsn, "DSN"),
            (self.deliver_by, "DELIVERBY"),
            (self.require_tls, "REQUIRETLS"),
        ]
        .into_iter()
        .filter_map(|(offered, keyword)| offered.then_some(keyword))
    }

    /// Returns the fault of the first parameter of MAIL whose extension is not offered.
    pub(super) fn fault_of_mail(self, parameters: &MailParameters<'_>) -> Option<RequestFault<'static>> {
        let asked = [
            (parameters.utf8, self.smtp_utf8, "SMTPUTF8"),
            (parameters.require_tls, self.require_tls, "REQUIRETLS"),
            (parameters.ret.is_some(), self.dsn, "RET"),
            (parameters.envid.is_some(), self.dsn, "ENVID"),
            (parameters.by.is_some(), self.deliver_by, "BY"),
        ];
        let body = match parameters.body {
            Some(BodyType::Binary) if !self.binary_mime => Some(RequestFault::UnknownValue("BINARYMIME")),
            Some(_) if !self.eight_bit_mime && !self.binary_mime => Some(RequestFault::UnknownOption("BODY")),
            _ => None,
        };
        let option = asked.into_iter().find(|(asked, offered, _)| *asked && !offered);
        body.or(option.map(|(_, _, keyword)| RequestFault::UnknownOption(keyword)))
    }

    /// Returns the fault of the first parameter of RCPT whose extension is not offered.
    pub(super) fn fault_of_rcpt(self, parameters: &RcptParameters<'_>) -> Option<RequestFault<'static>> {
        let keyword = match parameters {
            RcptParameters { notify: Some(_), .. } => "NOTIFY",
            RcptParameters { orcpt: Some(_), .. } => "ORCPT",
            RcptParameters { .. } => return None,
        };
        (!self.dsn).then_some(RequestFault::UnknownParameter(keyword))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_refused_by_its_name() {
        let none = MailParameters::default();
        let cases = [
            (MailParameters { utf8: true, ..none }, RequestFault::UnknownOption("SMTPUTF8")),
            (MailParameters { require_tls: true, ..none }, RequestFault::UnknownOption("REQUIRETLS")),
            (MailParameters { ret: Some("FULL"), ..none }, RequestFault::UnknownOption("RET")),
            (MailParameters { envid: Some("a"), ..none }, RequestFault::UnknownOption("ENVID")),
            (MailParameters { by: Some("1;R"), ..none }, RequestFault::UnknownOption("BY")),
            (MailParameters { body: Some(BodyType::EightBit), ..none }, RequestFault::UnknownOption("BODY")),
            (
                MailParameters { body: Some(BodyType::Binary), ..none },
                RequestFault::UnknownValue("BINARYMIME"),
            ),
        ];
        let all = Offers {
            pipelining: true,
            eight_bit_mime: true,
            chunking: true,
            binary_mime: true,
            smtp_utf8: true,
            dsn: true,
            deliver_by: true,
            require_tls: true,
        };
        for (parameters, fault) in cases {
            assert_eq!(Offers::NONE.fault_of_mail(&parameters), Some(fault));
            assert_eq!(all.fault_of_mail(&parameters), None);
        }
        assert_eq!(Offers::NONE.fault_of_mail(&none), None);
        let notify = RcptParameters { notify: Some("NEVER"), orcpt: None };
        assert_eq!(Offers::NONE.fault_of_rcpt(&notify), Some(RequestFault::UnknownParameter("NOTIFY")));
        assert_eq!(all.fault_of_rcpt(&notify), None);
        assert_eq!(Offers::NONE.fault_of_rcpt(&RcptParameters::default()), None);
    }
}
