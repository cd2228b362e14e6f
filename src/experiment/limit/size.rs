//! Limits on bytes: of a message by its declared size and by its content, of its header, of lines and paths. Each limit is
//! searched to the byte.

use super::kind::{LimitKind, SizedPart};
use super::prober::{Halt, Letter, Probed, Prober, unreadable};
use super::repeats::{bound, settle};
use super::result::{LimitResult, LimitVerdict};
use super::value_search::ValueSearch;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::extensions::Terms;

/// How often the value that was found, and the value after it, are tried again.
const AGAIN: u64 = 2;
/// The largest number of bytes that a listener may add to a content and count with it.
const MARGIN: u64 = 1024;
/// The bytes of the line of the final dot.
const DOT: u64 = ".\r\n".len() as u64;
/// The longest header that is tried if no value is expected.
const HEADER: u64 = 1 << 20;
/// The longest line, command and path that are tried if no value is expected.
const LINE: u64 = 256 << 10;
const COMMAND: u64 = 64 << 10;
const PATH: u64 = 4096;
/// The longest local part that every listener accepts (RFC 5321 4.5.3.1.1).
const LOCAL: usize = 64;
/// The size of each field that is added to a header, with its CRLF. It is below the limit of a line of any listener.
const FIELD: u64 = 76;

/// The answer to one size.
enum SizeOutcome {
    Served,
    Refused(Step, ProbeOutcome),
}

/// Tries one size in a new session.
type SizeTrial<'t> = &'t mut dyn FnMut(&mut Prober<'_>, Probe, u64) -> Probed<SizeOutcome>;

/// Searches a limit to the byte with `trial`. Each trial has a new session, so that a limit on the messages of a session has
/// no effect. `least` is the smallest size that can be tried. If `least` is refused, the reason is not the size.
fn to_the_byte(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    result: &mut LimitResult,
    search: ValueSearch,
    least: u64,
    trial: SizeTrial<'_>,
) -> Probed<()> {
    let mut search = search.known(least);
    if let SizeOutcome::Refused(step, outcome) = once(prober, least, trial)? {
        return Err(Halt::Failed(step, Box::new(outcome)));
    }
    while let Some(size) = search.next() {
        result.trials += 1;
        let session = prober.enter()?;
        let came = trial(prober, session, size)?;
        search.tell(size, matches!(came, SizeOutcome::Served));
        if let SizeOutcome::Refused(step, outcome) = came {
            // An invalid or missing reply shows nothing about the size.
            unreadable(&outcome)?;
            prober.shown(result, step, &outcome.event, session);
        }
        prober.leave(session);
    }
    (result.looked, result.repeats) = (1, 1);
    match (search.found(), search.at_most()) {
        (Some(exact), _) => {
            result.exactly(exact);
            for _ in 0..AGAIN {
                result.looked += 1;
                let low = exact < least || served(prober, exact, trial)?;
                let high = served(prober, exact.saturating_add(1), trial)?;
                result.repeats += u64::from(low && !high);
            }
        }
        (None, Some(most)) => {
            result.between(
                search.at_least(),
                most.max(search.at_least()),
                "the replies contradict each other",
            );
            result.verdict = LimitVerdict::Unstable;
        }
        (None, None) => result.not_reached(search.at_least()),
    }
    if result.repeats < result.looked {
        near(prober, result, least, trial)?;
    }
    settle(kind, result, 0);
    Ok(())
}

/// Finds the bounds of a limit that varies by up to [`MARGIN`] bytes, because the listener also counts bytes that it adds.
fn near(prober: &mut Prober<'_>, result: &mut LimitResult, least: u64, trial: SizeTrial<'_>) -> Probed<()> {
    let value = result.value.unwrap_or(0);
    let (low, high) = (value.saturating_sub(MARGIN).max(least), value.saturating_add(MARGIN));
    result.trials += 2;
    if served(prober, low, trial)? && !served(prober, high, trial)? {
        result.repeats = result.looked;
        result.between(low, high, "the listener counts more than the content, and not always as much");
        return Ok(());
    }
    result.between(0, high, "the repeats differ");
    result.verdict = LimitVerdict::Unstable;
    Ok(())
}

/// Tries this size in a new session.
fn once(prober: &mut Prober<'_>, size: u64, trial: SizeTrial<'_>) -> Probed<SizeOutcome> {
    let session = prober.enter()?;
    let came = trial(prober, session, size)?;
    prober.leave(session);
    Ok(came)
}

/// Whether this size is served.
fn served(prober: &mut Prober<'_>, size: u64, trial: SizeTrial<'_>) -> Probed<bool> {
    match once(prober, size, trial)? {
        SizeOutcome::Served => Ok(true),
        SizeOutcome::Refused(_, outcome) => unreadable(&outcome).map(|()| false),
    }
}

/// Returns the size that the listener advertises with SIZE; 0: SIZE without a number.
fn advertised(prober: &mut Prober<'_>) -> Probed<Option<u64>> {
    let session = prober.enter()?;
    let offer = prober.probes.offer(session);
    prober.leave(session);
    Ok(offer.size)
}

fn compare(result: &mut LimitResult, advertised: Option<u64>) {
    match (advertised, result.value) {
        (None, _) => result.remark("SIZE is not offered"),
        (Some(0), _) => result.remark("SIZE is offered without a number"),
        (Some(size), Some(value)) if size == value => result.remark(format!("SIZE {size} is advertised")),
        (Some(size), Some(value)) => {
            result.remark(format!("SIZE {size} is advertised, and {value} is what is enforced"));
        }
        (Some(size), None) => result.remark(format!("SIZE {size} is advertised")),
    }
}

/// Finds the limit of the size of a part of the dialogue.
pub(super) fn find(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    part: SizedPart,
    result: &mut LimitResult,
) -> Probed<()> {
    match part {
        SizedPart::Declaration => declared(prober, kind, result),
        SizedPart::Content => content(prober, kind, result),
        SizedPart::Header => header(prober, kind, result),
        SizedPart::TextLine => text_line(prober, kind, result),
        SizedPart::CommandLine => command_line(prober, kind, result),
        SizedPart::Path => path(prober, kind, result),
    }
}

/// Finds the limit of the declared size of a message.
fn declared(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    let advertised = advertised(prober)?;
    if advertised.is_none() {
        return Err(Halt::NotMeasurable("SIZE is not offered: see message-size-exceeded.content".to_owned()));
    }
    let most = bound(result.expected, 1 << 40, u64::MAX).max(bound(advertised, 0, u64::MAX));
    let guess = result.expected.or(advertised.filter(|size| *size > 0));
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer);
    to_the_byte(
        prober,
        kind,
        result,
        ValueSearch::new(64 << 10, most, guess),
        1,
        &mut |prober, session, size| {
            let terms = Terms { size: true, ..prober.terms(session, &letter) };
            let outcome =
                prober.probes.exchange(session, &letter.mail_of_size(&terms, size), prober.setting.patience);
            if outcome.accepts(Step::Mail) {
                Ok(SizeOutcome::Served)
            } else {
                Ok(SizeOutcome::Refused(Step::Mail, outcome))
            }
        },
    )?;
    if result.at_most.is_none() {
        result.remark("MAIL is accepted whatever size it declares: see message-size-exceeded.content");
    }
    compare(result, advertised);
    Ok(())
}

/// Sends a letter as a whole.
fn whole(prober: &mut Prober<'_>, session: Probe, letter: &Letter) -> SizeOutcome {
    match prober.send(session, letter) {
        Ok(_) => SizeOutcome::Served,
        Err((step, outcome)) => SizeOutcome::Refused(step, outcome),
    }
}

/// Finds the limit of the size of a message's content.
fn content(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    // If the smallest message is refused, the reason is not its size.
    prober.one_message()?;
    let advertised = advertised(prober)?;
    let guess = result.expected.or(advertised.filter(|size| *size > 0));
    let budget = prober.setting.bounds.message_bytes;
    let most = match guess {
        Some(guess) => (guess.saturating_add(guess / 8).saturating_add(4096))
            .max(result.expected.unwrap_or(0) * 2)
            .min(budget * 8),
        None => budget,
    };
    let least = prober.mailer(None, 1).minimum();
    let search = ValueSearch::new(64 << 10, most, guess);
    let mut shorter = ShorterCount::new();
    to_the_byte(prober, kind, result, search, least, &mut |prober, session, size| {
        prober.afford()?;
        let mailer = prober.mailer(Some(size), 1);
        let letter = prober.letter(&mailer).without_size();
        let came = whole(prober, session, &letter);
        shorter.note(&letter, matches!(came, SizeOutcome::Served));
        Ok(came)
    })?;
    if advertised != result.value || result.value.is_none() {
        is_of_session(prober, result, least)?;
    }
    own_way(result, advertised, &shorter);
    compare(result, advertised);
    Ok(())
}

/// Checks whether two messages are refused in one session although each is accepted alone. Then the bytes of the session
/// are limited.
fn is_of_session(prober: &mut Prober<'_>, result: &mut LimitResult, least: u64) -> Probed<()> {
    let Some(value) = result.value.filter(|_| result.verdict != LimitVerdict::Unstable) else {
        return Ok(());
    };
    result.trials += 1;
    let part = (value / 3).saturating_mul(2).max(least);
    if part.saturating_mul(2) <= value || two(prober, part, part)? {
        return Ok(());
    }
    let why = match two(prober, least, least)? {
        true => format!(
            "a second message of {part} bytes was refused in one session: the bytes of a session are limited first"
        ),
        false => {
            "a session accepts one message: whether its bytes are limited or those of a message cannot be measured"
                .to_owned()
        }
    };
    result.hidden(value, why);
    Ok(())
}

/// Whether messages of these sizes are served in one session.
fn two(prober: &mut Prober<'_>, first: u64, second: u64) -> Probed<bool> {
    let session = prober.enter()?;
    let mut served = true;
    for size in [first, second] {
        let mailer = prober.mailer(Some(size), 1);
        let letter = prober.letter(&mailer).without_size();
        served = served && prober.is_accepted(session, &letter)?;
    }
    prober.leave(session);
    Ok(served)
}

/// The sizes of messages for a listener that counts a line end as one byte. Messages of one size can differ in their lines: the
/// search sees at which of these sizes each was served, and not only at which bytes.
struct ShorterCount {
    /// The largest size that was served.
    served: u64,
    /// The smallest size that was refused.
    refused: u64,
}

impl ShorterCount {
    fn new() -> ShorterCount {
        ShorterCount { served: 0, refused: u64::MAX }
    }

    /// Notes whether a letter was served.
    fn note(&mut self, letter: &Letter, is_served: bool) {
        let lines = letter.raw().iter().filter(|byte| **byte == b'\n').count();
        let size = (letter.raw().len() - lines) as u64;
        if is_served {
            self.served = self.served.max(size);
        } else {
            self.refused = self.refused.min(size);
        }
    }

    /// Whether a limit of this size, so counted, explains which messages were served and which were not.
    fn explains(&self, limit: u64) -> bool {
        (self.served..self.refused).contains(&limit)
    }
}

/// Checks how the listener counts. It may count a line end as one byte, or count the line of the final dot or text that it
/// adds. If this explains the expected or advertised value, the result gets that value or a bracket that contains it, and
/// a remark describes the count.
fn own_way(result: &mut LimitResult, advertised: Option<u64>, shorter: &ShorterCount) {
    let known: Vec<u64> = result.expected.into_iter().chain(advertised.filter(|size| *size > 0)).collect();
    if result.value.is_some_and(|value| known.contains(&value)) || result.at_most.is_none() {
        return;
    }
    for known in known {
        if shorter.explains(known) {
            let longer = match result.value {
                Some(value) => format!("; with both bytes it is {value}"),
                // The same limit is at other bytes for messages with other lines.
                None => String::new(),
            };
            result.remark(format!("the listener counts a line end as one byte: {known}{longer}"));
            match shorter.refused - shorter.served {
                1 => result.exactly(known),
                _ => result.between(shorter.served, shorter.refused - 1, "messages differ in their lines"),
            }
            // Every look is explained so, also one that seemed to contradict the others.
            result.repeats = result.looked;
            return result.judge(0);
        }
        let Some(value) = result.value else { continue };
        if value.saturating_add(DOT) == known {
            result.remark(format!("the listener counts the line of the final dot as well: {known}"));
            result.exactly(known);
            return result.judge(0);
        }
        for (low, why) in [
            (value, "the listener counts what it adds itself"),
            (shorter.served, "the listener counts a line end as one byte, and what it adds itself"),
        ] {
            if (low..=low.saturating_add(MARGIN)).contains(&known) {
                result.remark(format!("{value} bytes of content were accepted, and not one more"));
                result.between(low, low.saturating_add(MARGIN), why);
                return result.judge(0);
            }
        }
    }
}

/// Checks whether a message is also refused if its bytes are in short lines of the body. Then the size of the message is
/// limited. `overhead`: the bytes of the measured message besides the measured part.
fn is_whole_size(prober: &mut Prober<'_>, result: &mut LimitResult, overhead: u64) -> Probed<()> {
    let Some(value) = result.value.filter(|_| result.verdict != LimitVerdict::Unstable) else {
        return Ok(());
    };
    let session = prober.enter()?;
    // The message is larger by a sixteenth, because it has more line ends, and each may be counted as one byte.
    let size = value.saturating_add(overhead).saturating_add(value / 16).saturating_add(MARGIN);
    let mailer = prober.mailer(Some(size), 1);
    let letter = prober.letter(&mailer).without_size();
    let is_accepted = prober.is_accepted(session, &letter)?;
    prober.leave(session);
    result.trials += 1;
    if !is_accepted {
        result.hidden(value, format!(
            "a message of as many bytes with short lines and a short header is refused as well: the size of a message is limited first, at {value}"
        ));
    }
    Ok(())
}

/// Finds the limit of the size of a message's header.
fn header(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    prober.one_message()?;
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).without_size();
    // The empty line after the header does not count.
    let least = (letter.head().len() as u64).saturating_sub(2);
    let search = ValueSearch::new(
        4096,
        bound(result.expected, HEADER, prober.setting.bounds.message_bytes / 4),
        result.expected,
    );
    to_the_byte(prober, kind, result, search, least + FIELD, &mut |prober, session, size| {
        let letter = prober.letter(&mailer).without_size();
        let more = size.saturating_sub((letter.head().len() as u64).saturating_sub(2));
        Ok(whole(prober, session, &letter.with_header(&fields(more))))
    })?;
    is_whole_size(prober, result, 0)
}

/// Returns header fields of this total size, at least [`FIELD`].
fn fields(bytes: u64) -> Vec<u8> {
    let name = b"X-Smtpress-Filler: ";
    let mut out = Vec::new();
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let field = FIELD as usize;
    while left > 0 {
        // If the rest is too short for two fields, the last field takes all of it.
        let here = if left < 2 * field { left } else { field };
        out.extend_from_slice(name);
        out.resize(out.len() + here.saturating_sub(name.len() + 2), b'x');
        out.extend_from_slice(b"\r\n");
        left -= here;
    }
    out
}

/// Finds the limit of the length of a line of text, with its CRLF.
fn text_line(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    prober.one_message()?;
    let mailer = prober.mailer(None, 1);
    let search = ValueSearch::new(
        512,
        bound(result.expected, LINE, prober.setting.bounds.message_bytes / 4),
        result.expected,
    );
    to_the_byte(prober, kind, result, search, 3, &mut |prober, session, size| {
        let letter = prober.letter(&mailer).without_size();
        let line = vec![b'x'; usize::try_from(size.saturating_sub(2)).unwrap_or(0)];
        let content = [letter.head(), &line, b"\r\n.\r\n"].concat();
        Ok(whole(prober, session, &Letter { content, ..letter.clone() }))
    })?;
    is_whole_size(prober, result, mailer.minimum())
}

/// Finds the limit of the length of a command line, with its CRLF.
fn command_line(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    let least = "NOOP x\r\n".len() as u64;
    let said = |size: u64| {
        let padding = "x".repeat(usize::try_from(size.saturating_sub(least)).unwrap_or(0) + 1);
        format!("NOOP {padding}")
    };
    let session = prober.enter()?;
    let short = prober.ask(session, &said(least));
    prober.leave(session);
    unreadable(&short)?;
    if short.code() == 0 || short.code() == 421 {
        return Err(Halt::Failed(Step::Command, Box::new(short)));
    }
    // Some listeners refuse any NOOP with an argument. As long as the reply has the same code, the length is not the reason.
    let plain = short.code();
    let search = ValueSearch::new(
        512,
        bound(result.expected, COMMAND, prober.setting.bounds.message_bytes / 4),
        result.expected,
    );
    to_the_byte(prober, kind, result, search, least, &mut |prober, session, size| {
        let outcome = prober.ask(session, &said(size));
        if outcome.code() == plain {
            Ok(SizeOutcome::Served)
        } else {
            Ok(SizeOutcome::Refused(Step::Command, outcome))
        }
    })?;
    if plain / 100 != 2 && result.at_most.is_none() {
        return Err(Halt::NotMeasurable(format!(
            "NOOP with an argument is answered {plain} whatever its length: a limit on its length cannot be measured"
        )));
    }
    Ok(())
}

/// Finds the limit of the length of a path with its angle brackets (RFC 5321 4.5.3.1.3).
fn path(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).without_rcpt_parameters();
    let recipient = letter.recipients.first().cloned().unwrap_or_default();
    let (local, domain) = recipient.rsplit_once('@').unwrap_or((&recipient, ""));
    let least = (local.len() + domain.len() + 3) as u64;
    // The listener may refuse another user or another domain for another reason than the length of the address.
    let other = format!("{}@{domain}", "x".repeat(local.len()));
    if !is_recipient(prober, &other)? {
        return Err(Halt::NotMeasurable(format!(
            "{other} is refused, which is no longer than {recipient}: a limit on the length of an address cannot be measured"
        )));
    }
    let mut most = bound(result.expected, PATH, prober.setting.bounds.message_bytes / 4);
    let below = format!("x@x.{domain}");
    if !is_recipient(prober, &below)? {
        most = most.min(least + LOCAL.saturating_sub(local.len()) as u64);
        result.remark(format!(
            "{below} is refused: a path was made longer in front of the @ only, up to 64 bytes"
        ));
    }
    let search = ValueSearch::new(64, most, result.expected);
    // The accepted mailbox grows, because a local part in quotes must not go on behind them.
    let (local, domain) = ("x".repeat(local.len()), domain.to_owned());
    to_the_byte(prober, kind, result, search, least, &mut |prober, session, size| {
        prober.begin(session, &letter)?;
        let (local, domain) =
            longer(&local, &domain, usize::try_from(size.saturating_sub(least)).unwrap_or(0));
        let outcome = prober.rcpt(session, &letter, &format!("{local}@{domain}"));
        if outcome.accepts(Step::Rcpt) {
            Ok(SizeOutcome::Served)
        } else {
            Ok(SizeOutcome::Refused(Step::Rcpt, outcome))
        }
    })?;
    result.remark("RFC 5321 4.5.3.1 requires at least 256 octets, 64 of them before the @");
    is_of_line(prober, result)
}

/// Whether a recipient is accepted.
fn is_recipient(prober: &mut Prober<'_>, recipient: &str) -> Probed<bool> {
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).without_rcpt_parameters();
    let outcome = prober.rcpt_alone(&letter, recipient)?;
    unreadable(&outcome)?;
    Ok(outcome.accepts(Step::Rcpt))
}

/// Checks whether another command of the same length is refused, too. Then the length of the line is limited, and not that
/// of the path.
fn is_of_line(prober: &mut Prober<'_>, result: &mut LimitResult) -> Probed<()> {
    let Some(value) = result.value.filter(|_| result.verdict != LimitVerdict::Unstable) else {
        return Ok(());
    };
    result.trials += 1;
    let mut codes = [0; 2];
    for (code, length) in codes.iter_mut().zip([1, value.saturating_add("RCPT TO:\r\n".len() as u64 + 1)]) {
        let session = prober.enter()?;
        let padding =
            "x".repeat(usize::try_from(length.saturating_sub("NOOP \r\n".len() as u64)).unwrap_or(0).max(1));
        let outcome = prober.ask(session, &format!("NOOP {padding}"));
        prober.leave(session);
        unreadable(&outcome)?;
        *code = outcome.code();
    }
    if codes[0] != codes[1] {
        result.hidden(value, format!(
            "a NOOP as long as its command was answered {}, a short one {}: a command line is limited first",
            codes[1], codes[0]
        ));
    }
    Ok(())
}

/// Returns a mailbox that is longer by this many bytes. First the local part grows, up to [`LOCAL`]. Then the domain grows,
/// by labels of at most 63 bytes in front of it.
fn longer(local: &str, domain: &str, by: usize) -> (String, String) {
    let mut room = LOCAL.saturating_sub(local.len()).min(by);
    // A label takes at least two bytes, with its dot.
    room = room.saturating_sub(usize::from(by - room == 1));
    let (mut left, mut labels) = (by - room, String::new());
    while left > 0 {
        let here = if left == 65 { 63 } else { left.min(64) };
        labels.push_str(&"x".repeat(here - 1));
        labels.push('.');
        left -= here;
    }
    (format!("{local}{}", "x".repeat(room)), format!("{labels}{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_longer_by_as_many_bytes_as_were_asked_for() {
        for by in 0..400 {
            let (local, domain) = longer("user1", "recipient.example", by);
            assert_eq!(local.len() + domain.len(), "user1recipient.example".len() + by, "{by}");
            assert!(local.len() <= 64, "{local}");
            assert!(domain.split('.').all(|label| (1..=63).contains(&label.len())), "{domain}");
        }
    }

    #[test]
    fn fields_have_exactly_the_bytes_that_were_asked_for() {
        for bytes in [200, 201, 399, 400, 401, 1000, 4097, 100_000] {
            let fields = fields(bytes);
            assert_eq!(fields.len() as u64, bytes);
            let text = String::from_utf8(fields).unwrap();
            assert!(
                text.ends_with("\r\n")
                    && text.lines().all(|line| line.starts_with("X-Smtpress-Filler: ") && line.len() < 400)
            );
        }
    }
}
