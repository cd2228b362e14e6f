//! Requests: the server's bounded line reader and the strict parser of command lines (RFC 5321 4.1).
//!
//! This module shares no code with the client's reply scanner: a test of both would not show a bug in shared code.
//! `server` checks the order of the commands, and `content` reads the content after DATA.
//!
//! # Decisions
//! - A line that arrives whole in one read is parsed in place. Only a partial line is stored, up to the limit.
//! - Only CRLF is a correct line end. A bare LF ends a line too, because the dialogue would hang otherwise, but the
//!   line is a syntax error.

use std::net::IpAddr;

use memchr::memchr;

/// The longest command line if no limit is set, in bytes with CRLF (RFC 5321 4.5.3.1.4 asks for 512, and more for
/// extensions).
pub const MAX_LINE: usize = 2048;

/// The longest path in bytes, with its angle brackets (RFC 5321 4.5.3.1.3). A longer path is refused.
pub const MAX_PATH: usize = 256;

/// The longest line of AUTH and its exchange, in bytes with CRLF (RFC 4954 3 and 4).
pub const MAX_AUTH_LINE: usize = 12288;

/// The fault of a line, or of its place in the session. Faults that some server answers differently are different
/// values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault<'a> {
    /// A line over the limit.
    LineTooLong,
    /// A path over the limit (RFC 5321 4.5.3.1.3).
    PathTooLong,
    /// A line of AUTH or its exchange over its limit (RFC 4954 4).
    AuthTooLong,
    /// An unknown command: its verb, at most 32 bytes.
    Unrecognized(&'a str),
    /// HELO or EHLO without a domain or address literal.
    HelloName,
    /// An argument that does not follow the grammar of its command: the argument.
    Syntax(&'a str),
    /// An unknown parameter of MAIL: its keyword.
    UnknownOption(&'a str),
    /// An unknown value of a parameter of MAIL: the value.
    UnknownValue(&'a str),
    /// An unknown parameter of RCPT: its keyword.
    UnknownParameter(&'a str),
    /// MAIL before HELO or EHLO.
    HelloFirst,
    /// RCPT or DATA before MAIL.
    MailFirst,
    /// DATA before RCPT.
    RcptFirst,
    /// MAIL or XCLIENT within a transaction.
    NestedMail,
    /// DATA after every RCPT was refused.
    NoValidRecipients,
    /// AUTH within a transaction (RFC 4954 section 4).
    InTransaction,
    /// STARTTLS on a session that is secure already.
    Secured,
    /// STARTTLS with input behind it, which must not pass for bytes sent over TLS (RFC 3207 4, CVE-2011-0411).
    NotLast,
    /// AUTH on a session that is logged in already (RFC 4954 section 4).
    LoggedIn,
    /// DATA or RCPT after the first BDAT, or DATA for binary content (RFC 3030 sections 2 and 3).
    BdatOnly,
    /// A path that is not ASCII, in a transaction without SMTPUTF8 (RFC 6531 3.5).
    NotAscii,
}

/// The type of the content, as `BODY=` declares it (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBit,
    /// `BINARYMIME` (RFC 3030).
    Binary,
}

/// The known parameters of MAIL (RFC 5321 4.1.1.11), with valid syntax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters<'a> {
    /// SIZE= in bytes (RFC 1870).
    pub size: Option<u64>,
    /// BODY=.
    pub body: Option<BodyType>,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// RET= (RFC 3461).
    pub ret: Option<&'a str>,
    /// ENVID= (RFC 3461), in xtext.
    pub envid: Option<&'a str>,
    /// BY= (RFC 2852), unchanged.
    pub by: Option<&'a str>,
    /// AUTH= (RFC 4954 section 5), in xtext: the user that submitted the message, or `<>`.
    pub auth: Option<&'a str>,
}

/// The known parameters of RCPT (RFC 3461), with valid syntax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters<'a> {
    /// NOTIFY=.
    pub notify: Option<&'a str>,
    /// ORCPT=.
    pub orcpt: Option<&'a str>,
}

/// A command line with valid syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// HELO or EHLO.
    Hello {
        /// Whether it is EHLO.
        extended: bool,
        /// The client's domain or address literal.
        name: &'a str,
    },
    /// MAIL FROM.
    Mail {
        /// The reverse path without its brackets; empty for `<>`.
        path: &'a str,
        /// The parameters behind the path.
        parameters: MailParameters<'a>,
    },
    /// RCPT TO.
    Rcpt {
        /// The forward path without its brackets.
        path: &'a str,
        /// The parameters behind the path.
        parameters: RcptParameters<'a>,
    },
    /// LHLO (RFC 2033).
    Lhlo {
        /// The client's domain or address literal.
        name: &'a str,
    },
    /// BDAT (RFC 3030).
    Bdat {
        /// The size of the chunk in bytes. The chunk follows the line.
        size: u64,
        /// Whether the chunk is marked LAST.
        last: bool,
    },
    /// DATA.
    Data,
    /// RSET.
    Reset,
    /// NOOP, with its argument.
    Noop(&'a str),
    /// VRFY.
    Verify,
    /// EXPN.
    Expand,
    /// HELP, with its topic; empty if there is none.
    Help(&'a str),
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    Starttls,
    /// AUTH (RFC 4954): the mechanism and the rest of the line; empty if there is none.
    Auth(&'a str),
    /// XCLIENT (Postfix's XCLIENT_README).
    Xclient {
        /// ADDR=; `None` if it is missing or unknown.
        address: Option<IpAddr>,
    },
}

impl Request<'_> {
    /// Parses one line without its line end.
    ///
    /// # Errors
    /// The first fault of the line.
    pub fn parse(line: &[u8]) -> Result<Request<'_>, RequestFault<'_>> {
        // A line may have UTF-8 (for SMTPUTF8), but no control characters except the tab.
        let text = match std::str::from_utf8(line) {
            Ok(text) if line.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f) => text,
            _ => return Err(RequestFault::Syntax("")),
        };
        let verb = &text[..text.bytes().take_while(u8::is_ascii_alphanumeric).count()];
        let rest = &text[verb.len()..];
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        // A verb ends at a space or with the line.
        if !(rest.is_empty() || rest.starts_with(' ')) || verb.is_empty() {
            let word = text.split(' ').next().unwrap_or_default();
            return Err(RequestFault::Unrecognized(if text.is_ascii() {
                &word[..word.len().min(32)]
            } else {
                ""
            }));
        }
        let takes_paths = is("MAIL") || is("RCPT");
        if !takes_paths && !text.is_ascii() {
            return Err(RequestFault::Syntax(""));
        }
        let argument = rest.trim_matches(' ');
        let bare =
            |request| if argument.is_empty() { Ok(request) } else { Err(RequestFault::Syntax(argument)) };
        if is("MAIL") {
            mail(argument)
        } else if is("RCPT") {
            rcpt(argument)
        } else if is("DATA") {
            bare(Request::Data)
        } else if is("EHLO") || is("HELO") {
            let extended = is("EHLO");
            // By the RFC only EHLO may have an address literal. Old clients send one with HELO too, so both accept it.
            if is_host(argument) {
                Ok(Request::Hello { extended, name: argument })
            } else {
                Err(RequestFault::HelloName)
            }
        } else if is("LHLO") {
            if is_host(argument) {
                Ok(Request::Lhlo { name: argument })
            } else {
                Err(RequestFault::HelloName)
            }
        } else if is("BDAT") {
            bdat(argument)
        } else if is("RSET") {
            bare(Request::Reset)
        } else if is("NOOP") {
            Ok(Request::Noop(argument))
        } else if is("QUIT") {
            bare(Request::Quit)
        } else if is("VRFY") || is("EXPN") {
            let request = if is("VRFY") { Request::Verify } else { Request::Expand };
            if argument.is_empty() { Err(RequestFault::Syntax("")) } else { Ok(request) }
        } else if is("HELP") {
            Ok(Request::Help(argument))
        } else if is("STARTTLS") {
            bare(Request::Starttls)
        } else if is("AUTH") {
            Ok(Request::Auth(argument))
        } else if is("XCLIENT") {
            xclient(argument)
        } else {
            Err(RequestFault::Unrecognized(&verb[..verb.len().min(32)]))
        }
    }
}

/// Parses the attributes of XCLIENT. The values of all attributes except ADDR are ignored.
fn xclient(argument: &str) -> Result<Request<'_>, RequestFault<'_>> {
    const KNOWN: [&str; 8] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];
    if argument.is_empty() {
        return Err(RequestFault::Syntax(""));
    }
    let mut address = None;
    for attribute in argument.split(' ').filter(|attribute| !attribute.is_empty()) {
        let (name, value) = attribute.split_once('=').ok_or(RequestFault::Syntax(argument))?;
        if value.is_empty() || !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(RequestFault::Syntax(argument));
        }
        let known = !["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|none| none.eq_ignore_ascii_case(value));
        if name.eq_ignore_ascii_case("ADDR") && known {
            let prefixed = value.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("IPV6:"));
            let told = if prefixed { &value[5..] } else { value };
            let told: IpAddr = told.parse().map_err(|_| RequestFault::Syntax(argument))?;
            if told.is_ipv6() != prefixed {
                return Err(RequestFault::Syntax(argument));
            }
            address = Some(told.to_canonical());
        }
    }
    Ok(Request::Xclient { address })
}

/// Parses a number of bytes and an optional LAST.
fn bdat(argument: &str) -> Result<Request<'_>, RequestFault<'_>> {
    let fault = RequestFault::Syntax(argument);
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let size = words.next().filter(|size| size.bytes().all(|b| b.is_ascii_digit())).ok_or(fault)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(fault),
    };
    match words.next() {
        None => Ok(Request::Bdat { size: size.parse().map_err(|_| fault)?, last }),
        Some(_) => Err(fault),
    }
}

/// Sets a parameter, which may occur only once (RFC 5321 4.1.2).
fn once<'a, T>(place: &mut Option<T>, value: T, fault: RequestFault<'a>) -> Result<(), RequestFault<'a>> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(fault),
    }
}

fn mail(argument: &str) -> Result<Request<'_>, RequestFault<'_>> {
    let (path, written) = bracketed(argument, "FROM:")?;
    let fault = RequestFault::Syntax(argument);
    if !(path.is_empty() || is_path(path)) {
        return Err(fault);
    }
    let mut parameters = MailParameters::default();
    for parameter in written {
        let (keyword, value) = split_parameter(parameter).ok_or(fault)?;
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("SMTPUTF8") || is("REQUIRETLS") {
            let asked = if is("SMTPUTF8") { &mut parameters.utf8 } else { &mut parameters.require_tls };
            if value.is_some() || std::mem::replace(asked, true) {
                return Err(fault);
            }
            continue;
        }
        if !["SIZE", "BODY", "RET", "ENVID", "BY", "AUTH"].iter().any(|known| is(known)) {
            return Err(RequestFault::UnknownOption(keyword));
        }
        let value = value.ok_or(fault)?;
        if is("SIZE") {
            if value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
                return Err(RequestFault::UnknownValue(value));
            }
            // A number of twenty digits may not fit into 64 bits. Such a size is above any limit.
            once(&mut parameters.size, value.parse().unwrap_or(u64::MAX), fault)?;
        } else if is("BODY") {
            let bodies = [
                ("7BIT", BodyType::SevenBit),
                ("8BITMIME", BodyType::EightBit),
                ("BINARYMIME", BodyType::Binary),
            ];
            let body = bodies.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
            once(&mut parameters.body, body.ok_or(RequestFault::UnknownValue(value))?.1, fault)?;
        } else if is("RET") {
            if !["FULL", "HDRS"].iter().any(|known| value.eq_ignore_ascii_case(known)) {
                return Err(RequestFault::UnknownValue(value));
            }
            once(&mut parameters.ret, value, fault)?;
        } else if is("ENVID") {
            if value.len() > 100 || !is_xtext(value) {
                return Err(fault);
            }
            once(&mut parameters.envid, value, fault)?;
        } else if is("AUTH") {
            if !is_xtext(value) {
                return Err(fault);
            }
            once(&mut parameters.auth, value, fault)?;
        } else {
            if !is_by(value) {
                return Err(fault);
            }
            once(&mut parameters.by, value, fault)?;
        }
    }
    if !path.is_ascii() && !parameters.utf8 {
        return Err(RequestFault::NotAscii);
    }
    Ok(Request::Mail { path, parameters })
}

fn rcpt(argument: &str) -> Result<Request<'_>, RequestFault<'_>> {
    let (path, written) = bracketed(argument, "TO:")?;
    let fault = RequestFault::Syntax(argument);
    if !(is_path(path) || path.eq_ignore_ascii_case("postmaster")) {
        return Err(fault);
    }
    let mut parameters = RcptParameters::default();
    for parameter in written {
        let (keyword, value) = split_parameter(parameter).ok_or(fault)?;
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            let value = value.filter(|value| is_notify(value)).ok_or(fault)?;
            once(&mut parameters.notify, value, fault)?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            let value = value.filter(|value| is_original_recipient(value)).ok_or(fault)?;
            once(&mut parameters.orcpt, value, fault)?;
        } else {
            return Err(RequestFault::UnknownParameter(keyword));
        }
    }
    Ok(Request::Rcpt { path, parameters })
}

/// Whether the text is xtext (RFC 3461 section 4): printable, without `=`, and with `+` only before two hexadecimal
/// digits in upper case.
fn is_xtext(text: &str) -> bool {
    text.is_ascii() && is_unitext(text)
}

/// Whether the text is xtext in which characters beyond ASCII may stand too (RFC 6533 section 3).
fn is_unitext(text: &str) -> bool {
    let mut bytes = text.bytes();
    let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    while let Some(b) = bytes.next() {
        let well = match b {
            b'+' => hex(bytes.next()) && hex(bytes.next()),
            b'=' => false,
            b => b.is_ascii_graphic() || !b.is_ascii(),
        };
        if !well {
            return false;
        }
    }
    !text.is_empty()
}

/// Whether the value is `type;address` (RFC 3461 4.2): the type an atom, and the address in xtext. Only an address of
/// the type `utf-8` may have characters beyond ASCII (RFC 6533 section 3).
fn is_original_recipient(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_address = if kind.eq_ignore_ascii_case("utf-8") { is_unitext } else { is_xtext };
    kind.is_ascii() && is_atom(kind) && is_address(address)
}

/// Whether the value is `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY` (RFC 3461 4.1).
fn is_notify(value: &str) -> bool {
    let others = ["SUCCESS", "FAILURE", "DELAY"];
    value.eq_ignore_ascii_case("NEVER")
        || value.split(',').all(|word| others.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// Whether the value is `seconds;mode` with a `T` behind the mode or not (RFC 2852 section 4): seconds of one to nine
/// digits, perhaps with a sign, and mode `N` or `R`. With mode `R` the time must be positive.
fn is_by(value: &str) -> bool {
    let Some((time, mode)) = value.split_once(';') else { return false };
    let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
    let mode = mode.strip_suffix(['T', 't']).unwrap_or(mode);
    let positive = !time.starts_with('-') && digits.bytes().any(|b| b != b'0');
    (1..=9).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (mode.eq_ignore_ascii_case("N") || mode.eq_ignore_ascii_case("R") && positive)
}

/// Divides `FROM:<path> parameters` into path and parameters. A quoted local part may hold a `>`.
fn bracketed<'a>(
    argument: &'a str,
    prefix: &str,
) -> Result<(&'a str, impl Iterator<Item = &'a str>), RequestFault<'a>> {
    let fault = RequestFault::Syntax(argument);
    let head = argument.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix)).ok_or(fault)?;
    let rest = argument[head.len()..].strip_prefix('<').ok_or(fault)?;
    let (mut quoted, mut escaped) = (false, false);
    let close = rest.bytes().position(|b| {
        let plain = !std::mem::take(&mut escaped);
        match b {
            b'\\' if plain && quoted => escaped = true,
            b'"' if plain => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    });
    let close = close.ok_or(fault)?;
    if close + 2 > MAX_PATH {
        return Err(RequestFault::PathTooLong);
    }
    let parameters = &rest[close + 1..];
    if !(parameters.is_empty() || parameters.starts_with(' ')) {
        return Err(fault);
    }
    Ok((&rest[..close], parameters.split(' ').filter(|p| !p.is_empty())))
}

/// Divides `keyword[=value]` (RFC 5321 4.1.2).
fn split_parameter(parameter: &str) -> Option<(&str, Option<&str>)> {
    let (keyword, value) = match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    };
    let mut bytes = keyword.bytes();
    let well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && value.is_none_or(|value| !value.is_empty() && !value.contains('='));
    well.then_some((keyword, value))
}

/// Whether the text is `[@a,@b:]local@domain` (RFC 5321 4.1.2), within the sizes of 4.5.3.1.
fn is_path(path: &str) -> bool {
    let mailbox = match path.strip_prefix('@') {
        Some(_) => {
            let Some((route, mailbox)) = path.split_once(':') else { return false };
            if !route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(is_domain)) {
                return false;
            }
            mailbox
        }
        None => path,
    };
    let Some((local, domain)) = mailbox.rsplit_once('@') else { return false };
    local.len() <= 64 && is_local(local) && is_host(domain)
}

/// Whether the text is a dot-string or a quoted string.
fn is_local(local: &str) -> bool {
    match local.strip_prefix('"') {
        Some(rest) => {
            let Some(inner) = rest.strip_suffix('"') else { return false };
            let mut bytes = inner.bytes();
            while let Some(b) = bytes.next() {
                let well = match b {
                    b'\\' => bytes.next().is_some_and(|b| (b' '..=b'~').contains(&b)),
                    b'"' | b'\t' => false,
                    _ => true,
                };
                if !well {
                    return false;
                }
            }
            true
        }
        None => local.split('.').all(is_atom),
    }
}

/// Whether the text is an atom (RFC 5321 4.1.2), in which characters beyond ASCII may stand (RFC 6531).
fn is_atom(text: &str) -> bool {
    let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b) || !b.is_ascii();
    !text.is_empty() && text.bytes().all(is_atext)
}

/// Whether the text is a domain or an address literal.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| {
            !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic() && !b"[\\]".contains(&b))
        }),
        None => is_domain(host),
    }
}

/// Whether the text consists of labels of letters, digits and inner hyphens. Underscores are accepted, because real
/// names have them, and characters beyond ASCII (RFC 6531).
fn is_domain(domain: &str) -> bool {
    domain.len() <= 255
        && domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b) || !b.is_ascii())
        })
}

/// Divides input into command lines, however the input is split, and bounds their length.
#[derive(Debug)]
pub struct CommandLines {
    partial: Vec<u8>,
    max: usize,
    /// The fault of a line that was too long. The rest of that line is dropped up to its end.
    skipping: Option<RequestFault<'static>>,
    /// Whether the line in `partial` was returned.
    spent: bool,
    /// Whether a bare CR ended the content before these lines. An LF directly behind that CR belongs to it.
    after_cr: bool,
}

impl Default for CommandLines {
    /// Returns a reader of lines of at most [`MAX_LINE`] bytes.
    fn default() -> Self {
        CommandLines::new(MAX_LINE)
    }
}

impl CommandLines {
    /// Creates a reader of lines of at most `max` bytes, with CRLF.
    pub fn new(max: usize) -> CommandLines {
        CommandLines { partial: Vec::new(), max, skipping: None, spent: false, after_cr: false }
    }

    /// Notes that a bare CR before the next bytes ended a content. If the next byte is an LF, it is dropped.
    pub fn after_cr(&mut self) {
        self.after_cr = true;
    }

    /// Removes one line from the front of `input` and returns it without its CRLF. Returns `None` if all of `input` is
    /// taken and the line is not complete.
    ///
    /// # Errors
    /// `LineTooLong` (`AuthTooLong` for AUTH) once for a line over the limit, at its end. `Syntax` for a line that a
    /// bare LF ended.
    pub fn next<'l, 'i: 'l>(
        &'l mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<&'l [u8], RequestFault<'static>>> {
        self.cut(input, false)
    }

    /// Does the same as [`CommandLines::next`] within the exchange of AUTH, where lines may be longer.
    ///
    /// # Errors
    /// As for [`CommandLines::next`].
    pub fn next_response<'l, 'i: 'l>(
        &'l mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<&'l [u8], RequestFault<'static>>> {
        self.cut(input, true)
    }

    fn cut<'l, 'i: 'l>(
        &'l mut self,
        input: &mut &'i [u8],
        response: bool,
    ) -> Option<Result<&'l [u8], RequestFault<'static>>> {
        self.release();
        if !input.is_empty() && std::mem::take(&mut self.after_cr) {
            *input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        let Some(end) = memchr(b'\n', input) else {
            if self.skipping.is_none() {
                self.skipping = self.too_long(input, response);
                if self.skipping.is_none() {
                    self.partial.extend_from_slice(input);
                } else {
                    self.partial = Vec::new();
                }
            }
            *input = &[];
            return None;
        };
        let (head, rest) = input.split_at(end + 1);
        *input = rest;
        if let Some(fault) = self.skipping.take().or_else(|| self.too_long(head, response)) {
            self.partial = Vec::new();
            return Some(Err(fault));
        }
        let line = if self.partial.is_empty() {
            head
        } else {
            self.partial.extend_from_slice(head);
            self.spent = true;
            &self.partial
        };
        Some(line.strip_suffix(b"\r\n").ok_or(RequestFault::Syntax("")))
    }

    /// Returns the fault if the stored line together with `more` is too long.
    fn too_long(&self, more: &[u8], response: bool) -> Option<RequestFault<'static>> {
        let length = self.partial.len() + more.len();
        if length <= self.max {
            return None;
        }
        let begins = || self.partial.iter().chain(more).take(5).map(u8::to_ascii_uppercase);
        match response || begins().eq(*b"AUTH ") {
            true if length <= MAX_AUTH_LINE => None,
            true => Some(RequestFault::AuthTooLong),
            false => Some(RequestFault::LineTooLong),
        }
    }

    /// Frees the buffer of the last line, so that an idle session holds none.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.spent) {
            self.partial = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
