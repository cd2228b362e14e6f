//! Limits on octets: of a message by its declaration and by its content, of its header, of lines and paths. Each is searched
//! to the octet.

use super::field::{Field, Found, Halt, Letter, unreadable};
use super::finding::{Finding, Verdict};
use super::kind::{LimitKind, SizedPart};
use super::looks::{bound, settle};
use crate::experiment::search::Search;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::extensions::Terms;

/// How often the bracket's two ends are asked again.
const AGAIN: u64 = 2;
/// What a listener may add to a content, and count with it.
const MARGIN: u64 = 1024;
/// The line of the final dot.
const DOT: u64 = ".\r\n".len() as u64;
/// No header is made longer than this.
const HEADER: u64 = 1 << 20;
/// No line, and no command.
const LINE: u64 = 256 << 10;
const COMMAND: u64 = 64 << 10;
const PATH: u64 = 4096;
/// No local part is made longer.
const LOCAL: usize = 64;
/// One field of a header that is made longer, with its CRLF: shorter than any line may be limited to.
const FIELD: u64 = 76;

/// What came of one size.
enum Came {
    Served,
    Refused(Step, ProbeOutcome),
}

/// One size, tried in a session at rest.
type Trial<'t> = &'t mut dyn FnMut(&mut Field<'_>, Probe, u64) -> Found<Came>;

/// Searches to the octet with `trial`, each in a session of its own: a limit on messages of a session is another one.
/// `least` is the smallest size that can be tried; it has to be served, or it is no size that is in the way.
fn octet(
    field: &mut Field<'_>,
    kind: LimitKind,
    finding: &mut Finding,
    search: Search,
    least: u64,
    trial: Trial<'_>,
) -> Found<()> {
    let mut search = search.known(least);
    if let Came::Refused(step, met) = once(field, least, trial)? {
        return Err(Halt::Failed(step, Box::new(met)));
    }
    while let Some(size) = search.next() {
        finding.trials += 1;
        let session = field.enter()?;
        let came = trial(field, session, size)?;
        search.tell(size, matches!(came, Came::Served));
        if let Came::Refused(step, met) = came {
            // A refusal that we could not read, or that never came, shows nothing of the size.
            unreadable(&met)?;
            field.shown(finding, step, &met.event, session);
        }
        field.leave(session);
    }
    (finding.looked, finding.repeats) = (1, 1);
    match (search.found(), search.at_most()) {
        (Some(exact), _) => {
            finding.exactly(exact);
            for _ in 0..AGAIN {
                finding.looked += 1;
                let low = exact < least || served(field, exact, trial)?;
                let high = served(field, exact.saturating_add(1), trial)?;
                finding.repeats += u64::from(low && !high);
            }
        }
        (None, Some(most)) => {
            finding.between(
                search.at_least(),
                most.max(search.at_least()),
                "its answers contradict each other",
            );
            finding.verdict = Verdict::Unstable;
        }
        (None, None) => finding.unmet(search.at_least()),
    }
    if finding.repeats < finding.looked {
        near(field, finding, least, trial)?;
    }
    settle(kind, finding, 0);
    Ok(())
}

/// A limit that is not the same to the octet each time, for a listener counts what it adds itself: the bracket that holds it.
fn near(field: &mut Field<'_>, finding: &mut Finding, least: u64, trial: Trial<'_>) -> Found<()> {
    let value = finding.value.unwrap_or(0);
    let (low, high) = (value.saturating_sub(MARGIN).max(least), value.saturating_add(MARGIN));
    finding.trials += 2;
    if served(field, low, trial)? && !served(field, high, trial)? {
        finding.repeats = finding.looked;
        finding.between(low, high, "the listener counts more than the content, and not always as much");
        return Ok(());
    }
    finding.between(0, high, "it was not the same each time");
    finding.verdict = Verdict::Unstable;
    Ok(())
}

/// What comes of this size in a session of its own.
fn once(field: &mut Field<'_>, size: u64, trial: Trial<'_>) -> Found<Came> {
    let session = field.enter()?;
    let came = trial(field, session, size)?;
    field.leave(session);
    Ok(came)
}

/// Whether this size is served.
fn served(field: &mut Field<'_>, size: u64, trial: Trial<'_>) -> Found<bool> {
    match once(field, size, trial)? {
        Came::Served => Ok(true),
        Came::Refused(_, met) => unreadable(&met).map(|()| false),
    }
}

/// The size that the listener advertises.
fn advertised(field: &mut Field<'_>) -> Found<Option<u64>> {
    let session = field.enter()?;
    let offer = field.probes.offer(session);
    field.leave(session);
    Ok(offer.size)
}

fn compare(finding: &mut Finding, advertised: Option<u64>) {
    match (advertised, finding.value) {
        (None, _) => finding.remark("SIZE is not offered"),
        (Some(0), _) => finding.remark("SIZE is offered without a number"),
        (Some(size), Some(value)) if size == value => finding.remark(format!("SIZE {size} is advertised")),
        (Some(size), Some(value)) => {
            finding.remark(format!("SIZE {size} is advertised, and {value} is what is enforced"));
        }
        (Some(size), None) => finding.remark(format!("SIZE {size} is advertised")),
    }
}

/// Bytes of a part of the dialogue.
pub(super) fn find(
    field: &mut Field<'_>,
    kind: LimitKind,
    part: SizedPart,
    finding: &mut Finding,
) -> Found<()> {
    match part {
        SizedPart::Declaration => declared(field, kind, finding),
        SizedPart::Content => content(field, kind, finding),
        SizedPart::Header => header(field, kind, finding),
        SizedPart::TextLine => text_line(field, kind, finding),
        SizedPart::CommandLine => command_line(field, kind, finding),
        SizedPart::Path => path(field, kind, finding),
    }
}

/// A message by what is said of its size.
fn declared(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    let advertised = advertised(field)?;
    if advertised.is_none() {
        return Err(Halt::Foreign("SIZE is not offered: see message-size-exceeded.content".to_owned()));
    }
    let most = bound(finding.expected, 1 << 40, u64::MAX).max(bound(advertised, 0, u64::MAX));
    let guess = finding.expected.or(advertised.filter(|size| *size > 0));
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer);
    octet(field, kind, finding, Search::new(64 << 10, most, guess), 1, &mut |field, session, size| {
        let terms = Terms { size: true, ..field.terms(session, &letter) };
        let met = field.probes.exchange(session, &letter.mail_of_size(&terms, size), field.setting.patience);
        if met.code() / 100 == 2 { Ok(Came::Served) } else { Ok(Came::Refused(Step::Mail, met)) }
    })?;
    if finding.at_most.is_none() {
        finding.remark("MAIL is taken whatever size it declares: see message-size-exceeded.content");
    }
    compare(finding, advertised);
    Ok(())
}

/// Sends a letter whole.
fn whole(field: &mut Field<'_>, session: Probe, letter: &Letter) -> Came {
    match field.send(session, letter) {
        Ok(_) => Came::Served,
        Err((step, met)) => Came::Refused(step, met),
    }
}

/// A message by its content.
fn content(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    // The least message has to be taken, or it is not its size that is in the way.
    field.one_message()?;
    let advertised = advertised(field)?;
    let guess = finding.expected.or(advertised.filter(|size| *size > 0));
    let budget = field.setting.bounds.message_octets;
    let most = match guess {
        Some(guess) => (guess.saturating_add(guess / 8).saturating_add(4096))
            .max(finding.expected.unwrap_or(0) * 2)
            .min(budget * 8),
        None => budget,
    };
    let least = field.mailer(None, 1).minimum();
    let search = Search::new(64 << 10, most, guess);
    octet(field, kind, finding, search, least, &mut |field, session, size| {
        field.afford()?;
        let mailer = field.mailer(Some(size), 1);
        let letter = field.letter(&mailer).without_size();
        Ok(whole(field, session, &letter))
    })?;
    if advertised != finding.value || finding.value.is_none() {
        is_of_session(field, finding, least)?;
    }
    own_way(field, finding, advertised);
    compare(finding, advertised);
    Ok(())
}

/// Whether two messages of a session, each of which is served alone, are refused together: then it is the bytes of the
/// session that are limited.
fn is_of_session(field: &mut Field<'_>, finding: &mut Finding, least: u64) -> Found<()> {
    let Some(value) = finding.value.filter(|_| finding.verdict != Verdict::Unstable) else { return Ok(()) };
    finding.trials += 1;
    let part = (value / 3).saturating_mul(2).max(least);
    if part.saturating_mul(2) <= value || two(field, part, part)? {
        return Ok(());
    }
    let why = match two(field, least, least)? {
        true => format!(
            "a second message of {part} bytes was refused in one session: the bytes of a session are limited first"
        ),
        false => {
            "a session takes one message: whether its bytes are limited or those of a message cannot be told"
                .to_owned()
        }
    };
    finding.hidden(value, why);
    Ok(())
}

/// Whether messages of these sizes are served in one session.
fn two(field: &mut Field<'_>, first: u64, second: u64) -> Found<bool> {
    let session = field.enter()?;
    let mut served = true;
    for size in [first, second] {
        let mailer = field.mailer(Some(size), 1);
        let letter = field.letter(&mailer).without_size();
        served = served && matches!(whole(field, session, &letter), Came::Served);
    }
    field.leave(session);
    Ok(served)
}

/// A listener may count a line's end as one byte, and what it adds itself: where that explains what was expected or
/// advertised, the value is that, and the remark says how it counts.
fn own_way(field: &mut Field<'_>, finding: &mut Finding, advertised: Option<u64>) {
    let Some(value) = finding.value else { return };
    let known: Vec<u64> = finding.expected.into_iter().chain(advertised.filter(|size| *size > 0)).collect();
    if known.contains(&value) {
        return;
    }
    let mailer = field.mailer(Some(value), 1);
    let letter = field.letter(&mailer).without_size();
    // Without the line of the final dot, which belongs to no content.
    let lines = (letter.content.iter().filter(|octet| **octet == b'\n').count() as u64).saturating_sub(1);
    let counted = value.saturating_sub(lines);
    for known in known {
        if counted == known {
            finding.remark(format!(
                "the listener counts a line end as one byte: {counted}; with both bytes it is {value}"
            ));
            finding.exactly(known);
            return finding.judge(0);
        }
        if value.saturating_add(DOT) == known {
            finding.remark(format!("the listener counts the line of the final dot as well: {known}"));
            finding.exactly(known);
            return finding.judge(0);
        }
        for (low, why) in [
            (value, "the listener counts what it adds itself"),
            (counted, "the listener counts a line end as one byte, and what it adds itself"),
        ] {
            if (low..=low.saturating_add(MARGIN)).contains(&known) {
                finding.remark(format!("{value} bytes of content were taken, and not one more"));
                finding.between(low, low.saturating_add(MARGIN), why);
                return finding.judge(0);
            }
        }
    }
}

/// Whether as much is refused as well when it stands elsewhere: then it is the whole message that is too large.
fn is_whole_size(field: &mut Field<'_>, finding: &mut Finding, overhead: u64) -> Found<()> {
    let Some(value) = finding.value.filter(|_| finding.verdict != Verdict::Unstable) else { return Ok(()) };
    let session = field.enter()?;
    // It has more line ends, which may be counted as one byte each.
    let size = value.saturating_add(overhead).saturating_add(value / 16).saturating_add(MARGIN);
    let mailer = field.mailer(Some(size), 1);
    let letter = field.letter(&mailer).without_size();
    let came = whole(field, session, &letter);
    field.leave(session);
    finding.trials += 1;
    if matches!(came, Came::Refused(..)) {
        finding.hidden(value, format!(
            "a message of as many bytes with short lines and a short header is refused as well: its size is limited first, at {value}"
        ));
    }
    Ok(())
}

/// The header of a message.
fn header(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).without_size();
    // Without the empty line.
    let least = (letter.head().len() as u64).saturating_sub(2);
    let search = Search::new(
        4096,
        bound(finding.expected, HEADER, field.setting.bounds.message_octets / 4),
        finding.expected,
    );
    octet(field, kind, finding, search, least + FIELD, &mut |field, session, size| {
        let letter = field.letter(&mailer).without_size();
        let more = size.saturating_sub((letter.head().len() as u64).saturating_sub(2));
        Ok(whole(field, session, &letter.with_header(&fields(more))))
    })?;
    is_whole_size(field, finding, 0)
}

/// Header fields of so many octets together, at least [`FIELD`].
fn fields(octets: u64) -> Vec<u8> {
    let name = b"X-Smtpress-Filler: ";
    let mut out = Vec::new();
    let mut left = usize::try_from(octets).unwrap_or(usize::MAX);
    let field = FIELD as usize;
    while left > 0 {
        // The last takes what would be too little for one of its own.
        let here = if left < 2 * field { left } else { field };
        out.extend_from_slice(name);
        out.resize(out.len() + here.saturating_sub(name.len() + 2), b'x');
        out.extend_from_slice(b"\r\n");
        left -= here;
    }
    out
}

/// A line of text, with its CRLF.
fn text_line(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let mailer = field.mailer(None, 1);
    let search = Search::new(
        512,
        bound(finding.expected, LINE, field.setting.bounds.message_octets / 4),
        finding.expected,
    );
    octet(field, kind, finding, search, 3, &mut |field, session, size| {
        let letter = field.letter(&mailer).without_size();
        let line = vec![b'x'; usize::try_from(size.saturating_sub(2)).unwrap_or(0)];
        let content = [letter.head(), &line, b"\r\n.\r\n"].concat();
        Ok(whole(field, session, &Letter { content, ..letter.clone() }))
    })?;
    is_whole_size(field, finding, mailer.minimum())
}

/// A command line, with its CRLF.
fn command_line(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    let least = "NOOP x\r\n".len() as u64;
    let said = |size: u64| {
        let padding = "x".repeat(usize::try_from(size.saturating_sub(least)).unwrap_or(0) + 1);
        format!("NOOP {padding}")
    };
    let session = field.enter()?;
    let short = field.ask(session, &said(least));
    field.leave(session);
    unreadable(&short)?;
    if short.code() == 0 || short.code() == 421 {
        return Err(Halt::Failed(Step::Command, Box::new(short)));
    }
    // Some take no argument to NOOP: as long as the refusal is the same, it is none of the length.
    let plain = short.code();
    let search = Search::new(
        512,
        bound(finding.expected, COMMAND, field.setting.bounds.message_octets / 4),
        finding.expected,
    );
    octet(field, kind, finding, search, least, &mut |field, session, size| {
        let met = field.ask(session, &said(size));
        if met.code() == plain { Ok(Came::Served) } else { Ok(Came::Refused(Step::Command, met)) }
    })?;
    if plain / 100 != 2 && finding.at_most.is_none() {
        return Err(Halt::Foreign(format!(
            "NOOP with an argument is answered {plain} whatever its length: a longer line cannot be told from a short one"
        )));
    }
    Ok(())
}

/// A path with its angle brackets (RFC 5321 4.5.3.1.3).
fn path(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).without_rcpt_parameters();
    let recipient = letter.recipients.first().cloned().unwrap_or_default();
    let (local, domain) = recipient.rsplit_once('@').unwrap_or((&recipient, ""));
    let least = (local.len() + domain.len() + 3) as u64;
    // An address may be refused for what it is, and not for its length: another user, or another domain.
    let other = format!("{}@{domain}", "x".repeat(local.len()));
    if !is_recipient(field, &other)? {
        return Err(Halt::Foreign(format!(
            "{other} is refused, which is no longer than {recipient}: whether a longer address is refused for its length cannot \
             be told"
        )));
    }
    let mut most = bound(finding.expected, PATH, field.setting.bounds.message_octets / 4);
    let below = format!("x@x.{domain}");
    if !is_recipient(field, &below)? {
        most = most.min(least + LOCAL.saturating_sub(local.len()) as u64);
        finding.remark(format!(
            "{below} is refused: a path was made longer in front of the @ only, where 64 octets are the most"
        ));
    }
    let search = Search::new(64, most, finding.expected);
    let (local, domain) = (local.to_owned(), domain.to_owned());
    octet(field, kind, finding, search, least, &mut |field, session, size| {
        let met = field.mail(session, &letter);
        if met.code() / 100 != 2 {
            return Err(Halt::Failed(Step::Mail, Box::new(met)));
        }
        let (local, domain) =
            longer(&local, &domain, usize::try_from(size.saturating_sub(least)).unwrap_or(0));
        let met = field.rcpt(session, &letter, &format!("{local}@{domain}"));
        if met.code() / 100 == 2 { Ok(Came::Served) } else { Ok(Came::Refused(Step::Rcpt, met)) }
    })?;
    finding.remark("RFC 5321 4.5.3.1 asks for 256 octets, of which 64 in front of the @");
    is_of_line(field, finding)
}

/// Whether a recipient is accepted.
fn is_recipient(field: &mut Field<'_>, recipient: &str) -> Found<bool> {
    let session = field.enter()?;
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).without_rcpt_parameters();
    let met = field.mail(session, &letter);
    if met.code() / 100 != 2 {
        return Err(Halt::Failed(Step::Mail, Box::new(met)));
    }
    let met = field.rcpt(session, &letter, recipient);
    field.leave(session);
    unreadable(&met)?;
    Ok(met.code() / 100 == 2)
}

/// Whether a command as long is refused as well, whatever it is: then it is the line that is too long, and not the path.
fn is_of_line(field: &mut Field<'_>, finding: &mut Finding) -> Found<()> {
    let Some(value) = finding.value.filter(|_| finding.verdict != Verdict::Unstable) else { return Ok(()) };
    finding.trials += 1;
    let mut codes = [0; 2];
    for (code, length) in codes.iter_mut().zip([1, value.saturating_add("RCPT TO:\r\n".len() as u64 + 1)]) {
        let session = field.enter()?;
        let padding =
            "x".repeat(usize::try_from(length.saturating_sub("NOOP \r\n".len() as u64)).unwrap_or(0).max(1));
        *code = field.ask(session, &format!("NOOP {padding}")).code();
        field.leave(session);
    }
    if codes[0] != codes[1] {
        finding.hidden(value, format!(
            "a NOOP as long as its command was answered {}, a short one {}: a command line is limited first",
            codes[1], codes[0]
        ));
    }
    Ok(())
}

/// A mailbox that is longer by so many octets: first its local part, as far as every listener takes it (RFC 5321 4.5.3.1.1),
/// then its domain, by labels of at most 63 octets in front of it.
fn longer(local: &str, domain: &str, by: usize) -> (String, String) {
    let mut room = LOCAL.saturating_sub(local.len()).min(by);
    // A label is an octet and a dot at the least.
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
    fn a_mailbox_is_longer_by_as_many_octets_as_were_asked_for() {
        for by in 0..400 {
            let (local, domain) = longer("user1", "recipient.example", by);
            assert_eq!(local.len() + domain.len(), "user1recipient.example".len() + by, "{by}");
            assert!(local.len() <= 64, "{local}");
            assert!(domain.split('.').all(|label| (1..=63).contains(&label.len())), "{domain}");
        }
    }

    #[test]
    fn fields_have_exactly_the_octets_that_were_asked_for() {
        for octets in [200, 201, 399, 400, 401, 1000, 4097, 100_000] {
            let fields = fields(octets);
            assert_eq!(fields.len() as u64, octets);
            let text = String::from_utf8(fields).unwrap();
            assert!(
                text.ends_with("\r\n")
                    && text.lines().all(|line| line.starts_with("X-Smtpress-Filler: ") && line.len() < 400)
            );
        }
    }
}
