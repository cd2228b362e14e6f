//! Requests: the server side's bounded line reader and the strict parser of command lines (RFC 5321 4.1).
//!
//! It shares no code with the client's reply scanner, so that one bug cannot hide the other. Which command may come
//! when is the business of `server`; the content after DATA that of `content`.
//!
//! # Decisions
//! - A line that arrives whole in one read is parsed in place; only a partial one is kept, up to the limit.
//! - Only CRLF ends a line well. A bare LF ends it too, or the dialogue would hang, but the line is a syntax error.

use std::net::IpAddr;

use memchr::memchr;

/// The longest command line when no limit is set, in octets with CRLF (RFC 5321 4.5.3.1.4 asks for 512, and more for
/// extensions).
pub const MAX_LINE: usize = 2048;

/// The longest line of AUTH and its exchange, in octets with CRLF (RFC 4954 3 and 4).
pub const MAX_AUTH_LINE: usize = 12288;

/// What is wrong with a line or where it came; each has a reply of its own in some server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// A line over the limit.
    LineTooLong,
    /// A line of AUTH or its exchange over its limit (RFC 4954 4).
    AuthTooLong,
    /// No command that is known; the verb, at most 32 octets.
    Unrecognized(&'a str),
    /// HELO or EHLO without a domain or address literal.
    HelloName,
    /// The argument of a command is not as its grammar says; the argument.
    Syntax(&'a str),
    /// A parameter of MAIL that is not known; its keyword.
    UnknownOption(&'a str),
    /// A parameter of MAIL whose value is not known; the value.
    UnknownValue(&'a str),
    /// A parameter of RCPT that is not known; its keyword.
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
    /// AUTH on a session that is logged in already (RFC 4954 section 4).
    LoggedIn,
}

/// What the content is, as BODY= says (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBit,
}

/// A command line, well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// HELO or EHLO.
    Hello {
        /// EHLO.
        extended: bool,
        /// The client's domain or address literal.
        name: &'a str,
    },
    /// MAIL FROM.
    Mail {
        /// The reverse path without its brackets; empty for `<>`.
        path: &'a str,
        /// SIZE= in octets (RFC 1870).
        size: Option<u64>,
        /// BODY=.
        body: Option<Body>,
    },
    /// RCPT TO.
    Rcpt {
        /// The forward path without its brackets.
        path: &'a str,
    },
    /// DATA.
    Data,
    /// RSET.
    Reset,
    /// NOOP.
    Noop,
    /// VRFY.
    Verify,
    /// EXPN.
    Expand,
    /// HELP, with what it is about.
    Help(&'a str),
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    Starttls,
    /// AUTH (RFC 4954): the mechanism and what follows; empty if there is none.
    Auth(&'a str),
    /// XCLIENT (Postfix's XCLIENT_README).
    Xclient {
        /// ADDR=; `None` if it is not given or not known.
        address: Option<IpAddr>,
    },
}

impl Request<'_> {
    /// Reads one line, without its end.
    ///
    /// # Errors
    /// The first fault of the line.
    pub fn parse(line: &[u8]) -> Result<Request<'_>, Fault<'_>> {
        // Eight-bit octets are for SMTPUTF8, which is not offered; NUL and bare CR are for nobody.
        let text = match std::str::from_utf8(line) {
            Ok(text) if line.iter().all(|b| (b' '..=b'~').contains(b) || *b == b'\t') => text,
            _ => return Err(Fault::Syntax("")),
        };
        let verb = &text[..text.bytes().take_while(u8::is_ascii_alphanumeric).count()];
        let rest = &text[verb.len()..];
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        // A verb ends at a space or with the line.
        if !(rest.is_empty() || rest.starts_with(' ')) || verb.is_empty() {
            let word = text.split(' ').next().unwrap_or_default();
            return Err(Fault::Unrecognized(&word[..word.len().min(32)]));
        }
        let argument = rest.trim_matches(' ');
        let bare = |request| if argument.is_empty() { Ok(request) } else { Err(Fault::Syntax(argument)) };
        if is("MAIL") {
            mail(argument)
        } else if is("RCPT") {
            rcpt(argument)
        } else if is("DATA") {
            bare(Request::Data)
        } else if is("EHLO") || is("HELO") {
            let extended = is("EHLO");
            // EHLO takes a domain or a literal; HELO only a domain, but old clients give literals, and so it is read alike.
            if is_host(argument) {
                Ok(Request::Hello { extended, name: argument })
            } else {
                Err(Fault::HelloName)
            }
        } else if is("RSET") {
            bare(Request::Reset)
        } else if is("NOOP") {
            Ok(Request::Noop)
        } else if is("QUIT") {
            bare(Request::Quit)
        } else if is("VRFY") || is("EXPN") {
            let request = if is("VRFY") { Request::Verify } else { Request::Expand };
            if argument.is_empty() { Err(Fault::Syntax("")) } else { Ok(request) }
        } else if is("HELP") {
            Ok(Request::Help(argument))
        } else if is("STARTTLS") {
            bare(Request::Starttls)
        } else if is("AUTH") {
            Ok(Request::Auth(argument))
        } else if is("XCLIENT") {
            xclient(argument)
        } else {
            Err(Fault::Unrecognized(&verb[..verb.len().min(32)]))
        }
    }
}

/// Attributes with values in xtext; what is told beside the address is of no use to this server.
fn xclient(argument: &str) -> Result<Request<'_>, Fault<'_>> {
    const KNOWN: [&str; 8] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];
    if argument.is_empty() {
        return Err(Fault::Syntax(""));
    }
    let mut address = None;
    for attribute in argument.split(' ').filter(|attribute| !attribute.is_empty()) {
        let (name, value) = attribute.split_once('=').ok_or(Fault::Syntax(argument))?;
        if value.is_empty() || !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(Fault::Syntax(argument));
        }
        let known = !["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|none| none.eq_ignore_ascii_case(value));
        if name.eq_ignore_ascii_case("ADDR") && known {
            let prefixed = value.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("IPV6:"));
            let told = if prefixed { &value[5..] } else { value };
            let told: IpAddr = told.parse().map_err(|_| Fault::Syntax(argument))?;
            if told.is_ipv6() != prefixed {
                return Err(Fault::Syntax(argument));
            }
            address = Some(told.to_canonical());
        }
    }
    Ok(Request::Xclient { address })
}

fn mail(argument: &str) -> Result<Request<'_>, Fault<'_>> {
    let (path, parameters) = bracketed(argument, "FROM:")?;
    if !(path.is_empty() || is_path(path)) {
        return Err(Fault::Syntax(argument));
    }
    let (mut size, mut body) = (None, None);
    for parameter in parameters {
        let (keyword, value) = split_parameter(parameter).ok_or(Fault::Syntax(argument))?;
        if keyword.eq_ignore_ascii_case("SIZE") {
            let value = value.ok_or(Fault::Syntax(argument))?;
            if value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Fault::UnknownValue(value));
            }
            // Twenty digits may not fit; such a size is above any limit.
            size = Some(value.parse().unwrap_or(u64::MAX));
        } else if keyword.eq_ignore_ascii_case("BODY") {
            let value = value.ok_or(Fault::Syntax(argument))?;
            body = Some(if value.eq_ignore_ascii_case("7BIT") {
                Body::SevenBit
            } else if value.eq_ignore_ascii_case("8BITMIME") {
                Body::EightBit
            } else {
                return Err(Fault::UnknownValue(value));
            });
        } else {
            return Err(Fault::UnknownOption(keyword));
        }
    }
    Ok(Request::Mail { path, size, body })
}

fn rcpt(argument: &str) -> Result<Request<'_>, Fault<'_>> {
    let (path, mut parameters) = bracketed(argument, "TO:")?;
    if !(is_path(path) || path.eq_ignore_ascii_case("postmaster")) {
        return Err(Fault::Syntax(argument));
    }
    match parameters.next() {
        None => Ok(Request::Rcpt { path }),
        Some(parameter) => {
            let (keyword, _) = split_parameter(parameter).ok_or(Fault::Syntax(argument))?;
            Err(Fault::UnknownParameter(keyword))
        }
    }
}

/// `FROM:<path> parameters` into path and parameters. A quoted local part may hold a `>`.
fn bracketed<'a>(
    argument: &'a str,
    prefix: &str,
) -> Result<(&'a str, impl Iterator<Item = &'a str>), Fault<'a>> {
    let fault = Fault::Syntax(argument);
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
    let parameters = &rest[close + 1..];
    if !(parameters.is_empty() || parameters.starts_with(' ')) {
        return Err(fault);
    }
    Ok((&rest[..close], parameters.split(' ').filter(|p| !p.is_empty())))
}

/// `keyword[=value]` (RFC 5321 4.1.2).
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

/// `[@a,@b:]local@domain` (RFC 5321 4.1.2), within the sizes of 4.5.3.1.
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
    path.len() <= 254 && local.len() <= 64 && is_local(local) && is_host(domain)
}

/// A dot-string or a quoted string.
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
        None => local.split('.').all(|atom| {
            !atom.is_empty()
                && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
        }),
    }
}

/// A domain or an address literal.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| {
            !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic() && !b"[\\]".contains(&b))
        }),
        None => is_domain(host),
    }
}

/// Labels of letters, digits and inner hyphens; the underscore of real life is let through.
fn is_domain(domain: &str) -> bool {
    domain.len() <= 255
        && domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Cuts input into command lines, however it comes, and bounds them.
#[derive(Debug)]
pub struct Lines {
    partial: Vec<u8>,
    max: usize,
    /// A line was too long, and this is its fault: its rest is thrown away up to its end.
    skipping: Option<Fault<'static>>,
    /// The line in `partial` was handed out.
    spent: bool,
}

impl Default for Lines {
    /// Lines of at most [`MAX_LINE`] octets.
    fn default() -> Self {
        Lines::new(MAX_LINE)
    }
}

impl Lines {
    /// Lines of at most `max` octets, CRLF included.
    pub fn new(max: usize) -> Lines {
        Lines { partial: Vec::new(), max, skipping: None, spent: false }
    }

    /// Takes one line off the front of `input`; returns it without its CRLF. `None`: all of `input` is taken and the
    /// line is not complete.
    ///
    /// # Errors
    /// `LineTooLong` (`AuthTooLong` for AUTH) once for a line over the limit, at its end; `Syntax` for one that a bare LF
    /// ended.
    pub fn next<'l, 'i: 'l>(&'l mut self, input: &mut &'i [u8]) -> Option<Result<&'l [u8], Fault<'static>>> {
        self.cut(input, false)
    }

    /// The same within the exchange of AUTH, where lines may be longer.
    ///
    /// # Errors
    /// As for [`Lines::next`].
    pub fn next_response<'l, 'i: 'l>(
        &'l mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<&'l [u8], Fault<'static>>> {
        self.cut(input, true)
    }

    fn cut<'l, 'i: 'l>(
        &'l mut self,
        input: &mut &'i [u8],
        response: bool,
    ) -> Option<Result<&'l [u8], Fault<'static>>> {
        self.release();
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
        Some(line.strip_suffix(b"\r\n").ok_or(Fault::Syntax("")))
    }

    /// The fault of a line that goes on with `more`, if it is too long.
    fn too_long(&self, more: &[u8], response: bool) -> Option<Fault<'static>> {
        let length = self.partial.len() + more.len();
        if length <= self.max {
            return None;
        }
        let begins = || self.partial.iter().chain(more).take(5).map(u8::to_ascii_uppercase);
        match response || begins().eq(*b"AUTH ") {
            true if length <= MAX_AUTH_LINE => None,
            true => Some(Fault::AuthTooLong),
            false => Some(Fault::LineTooLong),
        }
    }

    /// Gives the buffer of the last line back: a session at rest holds none.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.spent) {
            self.partial = Vec::new();
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
