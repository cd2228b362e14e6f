//! Finds the concepts in each sentence of a reply, by the phrases of `lexicon.txt`.
//!
//! This module declares the concepts and matches their phrases; `rules` decides what a set of concepts means.
//!
//! # Decisions
//! - Every phrase that is found counts. The words of an idiom (written `=idiom`) start no further phrase, so that "mail
//!   server" does not count as a mail, and "in 5 minutes" does not count as a rate.
//! - The vocabulary is a text file, so that people who work with replies and not with code can read and correct it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tokenizer::{self, ReplyToken};
use crate::smtp::Reply;

const LEXICON_TEXT: &str = include_str!("lexicon.txt");

/// A set of concepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConceptSet(u128);

impl ConceptSet {
    pub(super) const NONE: ConceptSet = ConceptSet(0);

    pub(super) const fn meets(self, other: ConceptSet) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn or(self, other: ConceptSet) -> ConceptSet {
        ConceptSet(self.0 | other.0)
    }
}

/// Declares the concepts: one constant for each, and their names.
macro_rules! concepts {
    ($($name:ident)*) => {
        #[derive(Clone, Copy)]
        #[expect(clippy::upper_case_acronyms, reason = "the names of the constants below")]
        enum Index { $($name,)* }
        $(pub(super) const $name: ConceptSet = ConceptSet(1 << Index::$name as u32);)*
        const CONCEPTS: &[(&str, ConceptSet)] = &[$((stringify!($name), $name),)*];
    };
}

concepts! {
    // Forms of expression.
    NEG MANY EXCESS FAIL DENY INVALID UNKNOWN ALREADY FIRST REQUIRED TEMP RETRY DELAY PERMANENT ERROR
    // Rates and quotas.
    RATE RATESURE PERTIME PERDAY QUOTA
    // Connections.
    CONNECTION CONCURRENT PROCESS PORTSBUSY HOSTSCOPE FROMSCOPE HERESCOPE LISTENERSCOPE USERSCOPE LIFETIME
    // Sessions.
    CMDERR CMDLIMIT DISCONNECT BADRCPT HARVEST ATTEMPT
    // Things.
    COMMAND CMDNAME LINE LINESURE LONG SIZE TOOBIG HEADER RECEIVED LOOP BARE LINEEND MUSTCRLF SMTPLF RCPT MESSAGE MANYMSG BODY USER MAILBOX SENDER FULL STORAGEALLOC DISK SHORT QUEUE QUEUEFULL LOAD SHUT MAINTENANCE UNAVAILABLE SERVICE LOCAL BACKEND LICENSE EXPIRED
    // Waits.
    GREYLIST TIMEOUT LOST
    // Protocol.
    SYNTAX SYNTAXSURE UNREC UNRECSURE PARAM EAI PIPELINE
    // TLS and AUTH.
    TLS STARTTLS ENCRYPT CERT AUTH MECH LOGIN AUTHSURE
    // Recipients.
    DISABLED NULLMX RELAYSURE RELAY DOMAIN SPF DNSCHECK BLACK URLBLACK BLOCKED YOU CONTENT POLICY POLICYSURE OWNED VERIFY UNVERIFIED NOVALID INTERNALSERVER MULTIDOMAIN SUBMIT MISMATCH NAMES GROUPED MEMBERS COUNTED SEQUENCE RCPTREJ SENDERREJ CLIENTREJ HELOREJ CMDREJ ACTION
}

/// The rest of a phrase after its first word, and the concepts that it means.
struct Phrase {
    rest: Vec<u16>,
    concepts: ConceptSet,
    idiom: bool,
}

struct Lexicon {
    words: HashMap<String, u16>,
    /// The phrases by first word, the longest first.
    phrases: Vec<Vec<Phrase>>,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut matcher = Lexicon { words: HashMap::new(), phrases: vec![Vec::new()] };
    let mut concept = ConceptSet::NONE;
    let mut list = String::new();
    for line in LEXICON_TEXT.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_suffix(':') {
            Some(name) if !line.starts_with(' ') => {
                matcher.learn(concept, &list);
                list.clear();
                let named = CONCEPTS.iter().find(|(known, _)| *known == name);
                concept = named.expect("the vocabulary names declared concepts only, a test holds it").1;
            }
            _ => list.push_str(line),
        }
    }
    matcher.learn(concept, &list);
    for same in &mut matcher.phrases {
        same.sort_by_key(|p| std::cmp::Reverse((p.rest.len(), !p.idiom)));
    }
    matcher
});

impl Lexicon {
    /// Adds the phrases of one concept.
    fn learn(&mut self, concept: ConceptSet, list: &str) {
        for phrase in list.split(',').map(str::trim).filter(|phrase| !phrase.is_empty()) {
            let idiom = phrase.starts_with('=');
            let ids: Vec<u16> =
                phrase.trim_start_matches('=').split_whitespace().map(|word| self.number(word)).collect();
            let Some((&first, rest)) = ids.split_first() else { continue };
            let same = &mut self.phrases[usize::from(first)];
            match same.iter_mut().find(|p| p.rest == rest) {
                Some(known) => {
                    known.concepts = known.concepts.or(concept);
                    known.idiom |= idiom;
                }
                None => same.push(Phrase { rest: rest.to_vec(), concepts: concept, idiom }),
            }
        }
    }

    /// Returns the concepts of one sentence.
    fn concepts(&self, ids: &[u16]) -> ConceptSet {
        let mut sentence = ConceptSet::NONE;
        let mut at = 0;
        while at < ids.len() {
            let id = ids[at];
            at += 1;
            // No phrase contains the end of a sentence.
            let Some(phrases) = self.phrases.get(usize::from(id)) else { continue };
            let after = &ids[at..];
            for found in phrases.iter().filter(|p| after.starts_with(&p.rest)) {
                sentence = sentence.or(found.concepts);
                if found.idiom {
                    at += found.rest.len();
                    break;
                }
            }
        }
        sentence
    }

    /// Returns the number of a word of the vocabulary; 0 for every other word.
    fn number(&mut self, word: &str) -> u16 {
        let mut word = word.to_owned();
        tokenizer::stem(&mut word);
        let next = u16::try_from(self.words.len() + 1).expect("the vocabulary is far below 65535 words");
        let id = *self.words.entry(word).or_insert(next);
        self.phrases.resize_with(self.words.len() + 1, Vec::new);
        id
    }
}

/// The number for the end of a sentence, above the numbers of all words.
const STOP: u16 = u16::MAX;
/// The number for the beginning of a quoted reply, above the numbers of all words.
const QUOTE: u16 = u16::MAX - 1;

/// The concepts of each sentence of a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyConcepts {
    /// The listener's own sentences.
    pub(super) own: Vec<ConceptSet>,
    /// The sentences that the listener quotes from another host.
    pub(super) quoted: Vec<ConceptSet>,
    /// The concepts in the paths of the reply's links.
    pub(super) links: ConceptSet,
}

impl ReplyConcepts {
    /// Reads the vocabulary, unless it was read already.
    pub(super) fn prepare() {
        LazyLock::force(&LEXICON);
    }

    /// Returns the concepts of a reply.
    pub(super) fn of(reply: &Reply) -> ReplyConcepts {
        let matcher = &*LEXICON;
        let number = |word: &str| matcher.words.get(word).copied().unwrap_or(0);
        let mut ids: Vec<u16> = Vec::with_capacity(64);
        let mut links: Vec<u16> = Vec::new();
        tokenizer::read(reply, |item| match item {
            ReplyToken::Word(word) => ids.push(number(word)),
            ReplyToken::Stop => ids.push(STOP),
            ReplyToken::Quote => ids.push(QUOTE),
            ReplyToken::Link(word) => links.push(number(word)),
        });
        let mut meaning = ReplyConcepts::default();
        let mut quoting = false;
        for part in ids.split_inclusive(|&id| id == STOP || id == QUOTE) {
            let concepts = matcher.concepts(part);
            if concepts != ConceptSet::NONE {
                if quoting { &mut meaning.quoted } else { &mut meaning.own }.push(concepts);
            }
            quoting |= part.last() == Some(&QUOTE);
        }
        meaning.links = matcher.concepts(&links);
        meaning
    }

    /// Passes the name of every concept of the sentences to `take`.
    pub(super) fn each_name(&self, take: impl FnMut(&'static str)) {
        let said = self.own.iter().chain(&self.quoted).fold(ConceptSet::NONE, |said, &s| said.or(s));
        CONCEPTS.iter().filter(|(_, concept)| concept.meets(said)).map(|&(name, _)| name).for_each(take);
    }
}

#[cfg(test)]
impl ConceptSet {
    /// Returns the names of the concepts, for readers who look for the cause of a wrong condition.
    pub(super) fn names(self) -> String {
        let names: Vec<&str> =
            CONCEPTS.iter().filter(|(_, c)| c.meets(self)).map(|(name, _)| *name).collect();
        names.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_concept_has_words_and_every_word_list_a_concept() {
        let named: Vec<&str> = LEXICON_TEXT
            .lines()
            .filter(|line| !line.starts_with([' ', '#']))
            .filter_map(|line| line.strip_suffix(':'))
            .collect();
        let declared: Vec<&str> = CONCEPTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, declared);
        for &(name, concept) in CONCEPTS {
            assert!(
                LEXICON.phrases.iter().flatten().any(|p| p.concepts.meets(concept)),
                "{name} has no words"
            );
        }
    }

    #[test]
    fn sentences_quotes_and_idioms_are_distinguished() {
        let meaning = |text: &str| ReplyConcepts::of(&Reply::parse(text).unwrap());
        let two = meaning("421 Too many connections. Try later");
        assert_eq!(two.own.len(), 2);
        assert!(two.own[0].meets(MANY) && !two.own[1].meets(MANY));
        let quoted = meaning("550 undeliverable: host mx.example.net said: 452 Mailbox full");
        assert!(quoted.quoted[0].meets(FULL) && !quoted.own[0].meets(FULL));
        for verb in ["said", "responded", "replied", "says", "said:", "replied:"] {
            let text = format!("550 undeliverable: host mx.example.net {verb} 452 Mailbox full");
            let meaning = meaning(&text);
            assert!(meaning.quoted.iter().any(|s| s.meets(FULL)), "{text}");
        }
        assert!(!meaning("421 mail server busy").own[0].meets(MESSAGE));
        assert!(!meaning("421 try again in 5 minutes").own[0].meets(PERTIME));
        assert!(meaning("421 5 per minute").own[0].meets(PERTIME));
    }
}
