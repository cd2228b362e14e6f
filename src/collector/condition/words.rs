//! The vocabulary: which words and phrases stand for which concept. Data, and the matcher that finds it in a text.
//!
//! A reply is reduced to the set of concepts of each of its sentences; what a set means is the business of `rules`.
//!
//! # Decisions
//! - Every phrase found counts. An idiom (written `=idiom`) also uses its words up: a "mail server" is no mail, and
//!   "in 5 minutes" is no rate.
//! - Words stand here in plain English; they are stemmed as the replies are, so one form stands for all of them.

use std::collections::HashMap;
use std::ops::BitOr;
use std::sync::LazyLock;

use super::text::{self, Item};
use crate::smtp::Reply;

/// A set of concepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(pub(super) u128);

impl Set {
    pub(super) const NONE: Set = Set(0);

    pub(super) const fn meets(self, other: Set) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
}

impl BitOr for Set {
    type Output = Set;

    fn bitor(self, other: Set) -> Set {
        self.or(other)
    }
}

/// Writes each concept once: its name and the phrases that stand for it, separated by commas.
macro_rules! concepts {
    ($($name:ident: $phrases:expr;)*) => {
        #[derive(Clone, Copy)]
        #[expect(clippy::upper_case_acronyms, reason = "the names of the constants below")]
        enum Index { $($name,)* }
        $(pub(super) const $name: Set = Set(1 << Index::$name as u32);)*
        const VOCABULARY: &[(Set, &str)] = &[$(($name, $phrases),)*];

        /// The names of the concepts in `set`.
        #[cfg(test)]
        pub(super) fn names(set: Set) -> String {
            let named = [$(($name, stringify!($name)),)*];
            let names: Vec<_> = named.iter().filter(|(c, _)| c.meets(set)).map(|(_, name)| *name).collect();
            names.join(" ")
        }
    };
}

concepts! {
    // How things are said.
    NEG: "not, no, cannot, cant, unable, without, dont, doesnt, isnt, arent, didnt, wasnt, havent, hasnt, wont, never, neither, none, lack, impossible, nor, couldnt, shouldnt, disallowed, refusing to";
    MANY: "too many, too much, excessive number, maximum number, max number, more than 0, more than one, so many, no more than, at most 0, only 0, up to 0, too numerous, trop de, zu viele, to many, \
           maximum limit of, max of 0, maximum of 0, limit of 0, 0 allowed, 0 max, max 0, maximum 0, max allowed, number of connections, number of recipients, number of messages";
    EXCESS: "exceed, excess, excessive, maximum, max, limit, limitation, reached, threshold, at capacity, over capacity, beyond, overrun, allowable, overlimit, above, surpassed, maxed";
    FAIL: "fail, failure, unsuccessful, unsuccessfully, aborted, cancel, went wrong, could not be completed, crash, broken";
    DENY: "deny, denied, reject, rejection, refuse, refusal, prohibit, prohibition, forbid, forbidden, disallow, not allowed, not permitted, not authorized, unauthorized, not accept, not be accepted, not accepted, wont accept, cannot accept, \
           will not accept, does not accept, do not accept, dont accept, doesnt accept, declined, decline, unwanted, not welcome, unwelcome, go away, restricted, restriction, no access, not wanted, barred, isnt allowed, not be delivered, not acceptable, disallows, not allow, unacceptable, inappropriate, not entitled, verweigert, abgelehnt, rejete, refuse par";
    INVALID: "invalid, bad, illegal, malformed, incorrect, wrong, improper, improperly, incorrectly, not valid, isnt valid, not a valid, ill formed, bogus, unparseable, unparsable, nonsense, no valid, not correct, mangled, invalide, ungueltig";
    UNKNOWN: "unknown, no such, not exist, nonexistent, non existent, nonexisting, not found, not known, unrouteable, unroutable, undeliverable, not deliverable, not listed, doesnt exist, dont exist, didnt exist, be found, couldnt find, could not find, cannot find, cant find, does not have, doesnt have, never heard, unbekannt, inconnu, inexistant, not one of, not here, not in my validrcptto, validrcptto, not registered, not our customer, no longer, isnt known, no one, nobody, not a user, unresolvable recipient, not recognized here, not present, recipient verification failed, recipient verify failed";
    ALREADY: "already, out of sequence, out of order, bad sequence, wrong sequence, improper sequence, nested, not allowed here, at this point, in progress, duplicate helo, twice, not yet, mid transaction, during, wrong order, in this state, wrong state, bad state, \
              not expecting, hello first, polite, introduce, sequence of commands, not started, without prior, not in a, now receiving, within plain, within mailmerge, only rset, when not advertised, start over, still missing, need to send helo, only one starttls, after starttls, after authentication, \
              no identity change, again after, sequence error, out of context, no transaction, not permitted now, not allowed now, at this stage";
    FIRST: "first, before, must precede, should precede, need, needed, required, expected, expecting, missing, must have, must send, must issue, must be issued, use helo, use ehlo, use mail, send helo, send ehlo, no mail, no ehlo, no helo, no rcpt, no sender, must specify, requires, want, and then, specify, hasnt";
    REQUIRED: "require, requirement, must, need, needed, mandatory, necessary, enforced, enforce, turn on, please use, only accept, only allowed, only permitted, should, have to, must first, first, not offered, only over";
    TEMP: "temporary, temporarily, transient, tempfail, at this time, at present, at the moment, currently, right now, momentarily, presently, intermittent, defer, deferred, for now, soft";
    RETRY: "try again, retry, try later, try it later, come back, later, reconnect, resend, please wait, back off, send again, sending again, resubmit, plus tard, spaeter, try reconnecting, again in";
    DELAY: "=in 0 minute, =in 0 second, =in 0 hour, =after 0 minute, =after 0 second, =after 0 hour, =for 0 minute, =for 0 second, =for 0 hour, =in 0 min, =in 0 sec, =in a few minute, =in a few moment, =in a moment, =in an hour, =in a minute, =few minute, =few hours, =wait 0 second, =wait 0 minute, \
            =0 minute later, =0 hour later, =0 second later, =at least 0 minute, =at least 0 second, =in 24 hour, =after 24 hour, =within 0 second, =within 0 minute, =another time, =at a later time, =tomorrow";
    PERMANENT: "permanent, permanently, fatal, fatally";
    ERROR: "error, problem, trouble, difficulty, fault, failure, exception, went wrong, fail, fehler, erreur, failed to, glitch, oops";
    // Rates and quotas.
    RATE: "rate, ratelimit, throttle, throttling, frequency, frequent, frequently, too fast, to fast, too quickly, too often, flood, hammering, burst, too rapid, rapidly, ratecontrol, peak, volume, velocity, pace, fast";
    RATESURE: "ratelimit, rate limit, rate limited, rate limiting, throttle, throttled, throttling, too quickly, too frequently, too often, frequency limit, frequency limited, sending rate, message rate, excessive volume, unexpected volume, unusual rate, rate exceed, rate control, too fast, to fast, submission rate, sender rate, mail rate, rate has exceeded, sending limit, send limit, messaging limit, flood, rate limits, sending too, mail limit, message limit, sent too many, at a rate, too much mail, relay limit, slow down, slower";
    PERTIME: "per second, per minute, per hour, per time, minute, hour, second, sec, min, hr, h, m, period, interval, time window, time frame, timeframe, short time, time span, hourly, recently, stunde, lately, in a short";
    PERDAY: "day, daily, week, month, 24 hour, 24 hr, 24 h, today, weekly, monthly, credit, billing, sending quota, message quota, plan limit, messaging limit, message count quota, count quota, quota for sending, recipient quota";
    QUOTA: "quota, overquota, overdrawn, allotment";
    // Connections.
    CONNECTION: "connection, connect, session, connexion, channel, conversation, simultaneous, concurrent, verbindung, concurrency";
    CONCURRENT: "concurrent, concurrently, simultaneous, simultaneously, concurrency, parallel, at once, at the same time, at a time, open connection, opened, open, active connection, incoming connection, inbound connection, gleichzeitige, connected client, are open, thread limit";
    PROCESS: "client, server process, child process, children, slot, thread, all server ports, screening ports, lines busy, daemon children, connected clients, handler, ips are at, free smtp, child limit, workers";
    PORTSBUSY: "ports are busy, ports busy, lines are busy, all lines, all processes, all slots, all server ports, screening ports, ips are at maximum, server processes";
    HOSTSCOPE: "=ip address, from your, from anip, from ahost, from this ip, from this host, from this client, from this address, from this source, from this network, from this server, from that ip, from same, from the same, from one, from a single, from you, per ip, per client, per host, per source, per remote, per network, per subnet, from client, from host, from ip, from source, by your host, by your ip, from remote, from new source, your ip, your host, your address, your server, your network, this ip, same ip, same host, same client, same source, single ip, single host, single client, one ip, one client, one host, this client, this source, source address, remote host, source ip, client ip, ip anip, subnet, netblock, for client, for ip, for your, your site, peer, for anip, your mail server, your connection, for this client, for this source, your ip address, by this client, you have, at your, network address, ips, client host, from these, =for this host";
    FROMSCOPE: "from anip, from ahost, from your, from this ip, from the sender, from this sender, from sender, per sender, this ip, your ip, from you, this sender, for sender, your account, per user, for user, from user, your host, per ip, for anip, per client, this client, your address, from your account, this user";
    HERESCOPE: "to this host, to this server, to this system, to the server, to server, this server, this system, on this server, this host, on this host, server connection, the server, our server, our system, total connection, overall, global, globally, system wide, server has, server limit, for this server, for server, entire, in total, whole";
    LISTENERSCOPE: "this listener, listener, this port, listening port, this interface, this endpoint, this socket, per listener";
    USERSCOPE: "for user, per user, this user, by user, user has, per account, for account, for this account, for your account, your account, this account, for mailbox, this mailbox, per mailbox, same user, same mailbox, for the user, for recipient, recipient thread, for this recipient, thread limit, mailbox connection, per recipient, for anaddr, account connection, to mailbox, the account, mailbox delivery";
    LIFETIME: "connection time, session time, session duration, connection duration, session lifetime, connection lifetime, duration, lifetime, connection expired, session expired, time limit, deadline, connected too long, connection too long, session too long, lasted, maximum time, total time, max time, open for too long, open too long, overall time, time allowed, session length, session age, connection age, took too long, maximum session";
    // Sessions.
    CMDERR: "error, bad command, invalid command, unknown command, unrecognized command, junk command, nonmail command, non mail command, failed command, syntax error, protocol error, noop, rset, unimplemented command, smtp error, illegal command, wrong command, incorrect command, bad smtp command, command, failure, violation, mistake, cmd, vrfy, expn, command error, strike, garbage, useless, bad sequence, requests";
    CMDLIMIT: "bad command limit, bad smtp command limit, command limit, error limit, errors reached, maximum error, max error, errors exceed, commands exceed, errors allowed, error threshold, error count, number of error, number of bad, number of invalid command, number of unknown command, number of unrecognized, number of failed command, bad commands limit, junk command limit, noop sent, sent too many times, misbehaving, too many times";
    DISCONNECT: "=closing connection, =closing channel, =closing transmission channel, =closing transaction channel, =closing session, =close connection, =dropping connection, =closing the connection, =server closing connection, goodbye, good bye, bye, closing, disconnect, hang up, hanging up, connection closed, terminating, terminated";
    BADRCPT: "invalid recipient, invalid rcpt, bad recipient, bad rcpt, unknown recipient, unknown user, unknown rcpt, invalid user, invalid address, unknown address, nonexistent recipient, nonexistent user, nonexistent address, non existent recipient, non existent user, non existent address, failed recipient, wrong recipient, unknown mailbox, invalid mailbox, failed rcpt, bad address, bad local recipient, unverified recipient, recipient failure, recipient error, rcpt error, rcpt failure, user unknown, users unknown, bad destination, nonexisting recipient, nonexisting user, nonexistent mailbox, incorrect recipient, undeliverable recipient, rejected recipient, rejected rcpt, rejected recipients, invalid destination, illegal recipient, recipients not found, users not found, unresolvable recipient, badrcptto, badrecipientto";
    HARVEST: "directory harvest, harvest, harvesting, dictionary attack, dhap, address probing, recipient probing, rumplestiltskin, namespace mining";
    ATTEMPT: "attempt, try, guess, retries, login failure, times";
    // Things.
    COMMAND: "command, verb, cmd, instruction, helo, ehlo, vrfy, expn, etrn, turn, noop, rset, lhlo, bdat, xclient, mailcmd, datacmd, xdfn, xprt, help, saml, send command";
    CMDNAME: "helo, ehlo, hello, mailcmd, datacmd, rcpt, mail from, rcpt to, bdat, mail command, rcpt command, data command, lhlo, mail first, sender first, recipient first, say hello, introduce, transaction, mail before, sender before, starttls command, authcmd, xprt, xdfn, sender and recipient, from first, tls, recipient specified, specify recipient, originator, valid receiver, address to send";
    LINE: "line, command, argument, path, input, local part, sasl response, verb, buffer, sender address, destination address, recipient address, sasl, parameter, domain";
    LINESURE: "line, command line, text line, line length";
    LONG: "long, length, longer, too long, overlong, over long, oversized line, line limit, response limit, lengthy, buffer overflow, too large, line size";
    SIZE: "size, large, big, huge, oversize, oversized, databytes, kb, mb, gb, kilobyte, megabyte, byte, octets, mib, message length, data length, message too long, mail too long, body too long, data too long, bigger, larger, mail data, message data, too much data, too much mail data, message is 0, taille, groesse, gross";
    TOOBIG: "too big, too large, too long, oversize, oversized, bigger than, larger than, too much data, too much mail data, huge, overlong, ridiculously, excessively, so large, longer than, at most 0, accept at most, not larger, trop volumineux, zu gross, taille limite, size limit";
    HEADER: "header, head, header block, headerlines";
    RECEIVED: "received header, received line, received field, received";
    LOOP: "loop, looping, mailloop, looped, hop count, hopcount, circular, hop";
    BARE: "bare, stray, naked, lone, isolated, smuggling, smuggle, non crlf, standalone, unaccompanied, unpaired";
    LINEEND: "lf, cr, crlf, linefeed, line feed, newline, line ending, line terminator, line delimiter, end of line, eol, carriage return, line break, linebreak";
    MUSTCRLF: "must be, must use, must end, not crlf, terminated, use crlf, invalid, improper, bad, illegal, required, violation, not allowed, mixed, incorrect, incorrectly, wrong, should be";
    SMTPLF: "smtplf";
    RCPT: "recipient, rcpt, addressee, destinataire, empfaenger, rcpts, receivers, number of addresses, addresses";
    MESSAGE: "message, mail, email, msg, mail transaction, transaction, delivery, deliveries, submission, nachricht, messages, mailing, bounce, transmission";
    MANYMSG: "too many message, too many mail, too many email, too many transaction, max message, maximum message count, number of messages, messages per, message per, mails per, emails per, message threshold, messages in this, messages sent, max messages, maximum number of messages, max number of messages, transactions per, transaction per, one transaction, only one transaction, message count, messages for this session, too many mails, limit of 0 messages, 0 messages, max mails, mail transaction limit, transaction limit";
    BODY: "body, content, attachment, mime, payload, body part, url, link, text part";
    USER: "user, account, mailbox, address, inbox, alias, mail box, local part, username, userid, recipient, destination, person, employee, mailing list, postbox, subscriber, benutzer, postfach, rcpt, customer, addressee, anaddr, box, destinataire, compte, local mailbox, list";
    MAILBOX: "mailbox, inbox, account, user, recipient, mail box, postbox, postfach, boite, anaddr, mailstore, maildir, its disk";
    SENDER: "sender, mail from, from address, return path, envelope from, envelope sender, originator, from header, reverse path, mailfrom, author, sender address, sender domain, from and auth, from domain, absender, emetteur, sending domain, from line, your address";
    FULL: "full, over quota, overquota, out of storage, no space, no room, filled, out of space, exceeded storage, storage limit, storage exceeded, storage quota, over its, disk quota, above quota, over the quota, exceeded its quota, storage full, pleine, voll, used up, overfull, insufficient space, not enough space, not enough room";
    STORAGEALLOC: "exceeded storage allocation, storage allocation, storage allotment";
    DISK: "disk, disc, filesystem, file system, storage, space, volume, partition, free blocks, inode, diskspace, disks";
    SHORT: "insufficient, low, shortage, short, full, not enough, out of, no space, no free, depleted, exhausted, running out, ran out, unavailable, almost full, nearly full, too full, limited";
    QUEUE: "queue, backlog, backlogged, warteschlange, message store, incoming queue";
    QUEUEFULL: "mail system full, queue full, queue limit, queues are full, queue is full, backlog, queue overflow, queue too large, mail system is full, queue quota, queue is too, queue congested, message store full, queue has, system full, queue overload, too many messages in queue, too many queued";
    LOAD: "load, busy, overload, too busy, memory, fork, load average, load shedding, congest, congestion, swamped, overwhelmed, file descriptor, open files, malloc, high load, back pressure, backpressure, toobusy, cannot fork, cpu, heavily loaded, loaded, out of memory, system resource, internal resource, server resource, resources exceeded, resources low, resource temporarily, out of resource, no resource, insufficient resource, low on resource, resource limit, resources are, resource low";
    SHUT: "shutdown, shutting down, shut down, shutting, restart, reboot, going down, closing down, stopping, stopped, being shut, shuttingdown, server exiting, terminating, about to close, being stopped, drain, draining";
    MAINTENANCE: "maintenance, being upgraded, upgrading, being serviced, migration, migrating, out of service, offline, standby, wartung, service window";
    UNAVAILABLE: "not available, unavailable, not accepting, not active, not ready, not running, no service, isnt available, not currently available, not currently accepting, not be available, isnt accepting, cannot be reached, not operational, inaccessible, not accept message, not accept mail now, not accept connection, no smtp service, no mail service, waiting for, starting up, startup, host down, is down, not responding, not respond, not able to accept, unable to accept, not be reached, not serving, no smtp, not presently, refused connection, unreachable, temporarily refused, service refuse, service refused";
    SERVICE: "=mail server, =mail system, =mail service, =mail host, =mail exchanger, =mail gateway, =email system, =email server, =mail delivery system, =e mail system, =smtp server, service, server, system, host, site, smtp, daemon, mailserver, mta, esmtp, dienst, machine, mailer, network messages, connections, spool";
    LOCAL: "local, internal, configuration, misconfigured, configure, config, setup, lookup, database, ldap, mysql, sql, backend, milter, filter, scanner, clamd, spamd, amavis, antivirus, i o, io, write, writing, read, reading, file, disk, spool, process, processing, queue, resolver, upstream, system, server, script, plugin, policy server, proxy, pipe, hook, redis, verification, verify, verifying, callout, check, checking, lock, smarthost, downstream, service, \
            application, callback, mail system, map, technical, input data, network, execute, scanning, child, qq, qqt, controls, delivery, deliver, address, relay, command, message, email, data, figure out, rcpt, redundant, store, request, dns, connection";
    BACKEND: "lookup, database, ldap, mysql, sql, dns, backend, milter, filter, scanner, clamd, spamd, amavis, antivirus, write, writing, reading error, spool, processing, queue, qq, upstream, policy server, proxy, lmtp, pipe, redis, verification, verifying, callout, next hop, downstream, smarthost, delivering to, deliver to, resolver, virus scan, virus scanner, dspam, scan, remote host, remote server, hook, backend server, during delivery, data processing, to authentication server";
    LICENSE: "license, licence, licensed, evaluation, trial, product key, subscription expired, evaluation period, trial period, license key, unlicensed";
    EXPIRED: "expire, ended, invalid, exceed, over, not found, missing, lapsed, violation, expiration, limit, not valid, no, not active";
    // Waits.
    GREYLIST: "greylist, greylisted, greylisting, graylist, graylisted, graylisting, grey listed, gray listed, grey list, gray list, grey listing, gray listing, postgrey, sqlgrey, greytrap, unknown triplet, new triplet, first time sender, greylistd, early retry, retry too soon, liste grise";
    TIMEOUT: "timeout, timed out, time out, times out, idle, inactivity, no activity, too slow, waiting for client, waiting for data, waiting for input, waiting for command, waited too long, no input, no command received, idling, not received in time, no data received, idled, inactive connection, inactive session, talk faster, zeitueberschreitung, command timeout, read timeout, alarm, no traffic, without activity, been idle, nothing received, autologout, waiting for next, delai depasse";
    LOST: "connection lost, lost connection, connection dropped, dropped due, connection reset, connection aborted, broken pipe, lost input, lost incoming, unexpected eof, peer disconnected, client disconnected, reset by peer, unexpected end, remote closed, disconnected unexpectedly, eof, closed by peer, client closed, premature end, unexpectedly closed, closed unexpectedly, went away, connection has been lost, connection interrupted, lost input channel, ended early";
    // Protocol.
    SYNTAX: "argument, ascii, nul, null, utf 8, utf8, colon, format, formatted, domain address, must contain a, parameter, no argument, decode, decoding, decoded, encoding, encode, character, valid address, address is not valid, sender address must, must be specified, without domain, domain missing, empty, zero size, domain name required, address required, domain argument, requires a, requires an, requires domain, path, \
             address literal, supplying a domain, email address, normalize, integer, number, unexpected, trailing, whitespace, address argument, nul characters, auth input, recipient address improper, improper recipient address, auth exchange, missing parameter, aborted, part, parts, requires, variable, hostname argument";
    SYNTAXSURE: "syntax, syntactically, malformed, parse error, parsing failed, unable to parse, cannot parse, could not parse, parsing, parse, unparseable, unparsable, ill formed, badly formed, base64, base 64, usage, unbalanced, unterminated, part number, variable name, variable value, nul character, null character, angle bracket, unmatched, unable to normalize, domain address, must contain a domain, decode auth, strict ascii, address is not valid, valid address is required, improper recipient address, sender system address, address argument required, \
                 requires domain, domain name required, sender address must be specified, auth exchange, auth aborted, authentication aborted, negotiation cancelled, authentication cancelled, zero size, not have any arguments, no arguments, missing parameter, missing argument, invalid argument, argument invalid, bad argument, requires an argument, requires a domain, illegal address, invisible";
    UNREC: "unrecognized, not recognized, not understood, unimplemented, not implemented, unsupported, not supported, not understand, dont understand, disabled, disallowed, not enabled, isnt supported, isnt implemented, huh, what, unknown, invalid, bad, no such, not a valid, not available, unavailable, didnt understand, doesnt support, not support, unbekannt, obsolete, not allowed, illegal, unexpected";
    UNRECSURE: "unrecognized, not recognized, not understood, unimplemented, not implemented, not understand, dont understand, didnt understand, speaking smtp, huh, unsupported command, invalid unsupported command";
    PARAM: "parameter, param, option, extension, value, esmtp parameter, argument, notify, envid, body type, smtputf8, orcpt, 8bitmime, binarymime, dsn, requiretls, deliverby, chunking, xoption, body value";
    EAI: "smtputf8, unicode address, internationalized, eai";
    PIPELINE: "pipelining, pipeline, synchronization, unsynchronized, sync error, protocol error, protocol violation, protocol synchronization, before greeting, before banner, pregreet, pre greeting, pregreeting, out of turn, http, break rules, early talker, earlytalker, talk too soon, talked too soon, spoke too soon, talking before, talk before, sent before, data before, wait for greeting, wait for banner, premature, prematurely, following the smtp protocol, follow the smtp protocol, open proxy, cursing shoplifters, speaking smtp, \
               not smtp, cross protocol, protocol abuse, improper use, your turn, synchronous, spoke before, greeting first, violates rfc, before 220, no data before, prior to greeting, command injection";
    // TLS and AUTH.
    TLS: "tls, ssl, starttls, sslv3, tlsv1, start tls, transport layer security, security subsystem, sslv2";
    STARTTLS: "starttls, start tls, must issue a starttls, use tls, tls first";
    ENCRYPT: "encryption, encrypt, secure connection, secure channel, secure transport, plaintext, plain text, unencrypted, confidentiality, lack of security, insecure, cleartext, clear text, non secure, unsecured, secure session, high strength ciphers";
    CERT: "certificate, cert, handshake, cipher, negotiate tls, tls negotiation, negotiate, protocol version, tls version, security failure, untrusted, ssl error, tls error, tls failed, tls failure, sni, dane, ssl routines, tls1";
    AUTH: "auth, authentication, authenticate, authcmd, sasl, login, logon, log in, log on, logged in, credential, password, smtpauth, passphrase, authorization, authenticated, mot de passe, anmeldung, authentification, user pass, username, sign in, oauth, xoauth2, authorization code, server token";
    MECH: "mechanism, method, type, cram md5, digest md5, ntlm, gssapi, mech, scheme, plain, security feature";
    LOGIN: "unauthenticated, not authenticated, not logged in, anonymous, please authenticate, authenticate first, must authenticate, log in first, login first, must log in, must login, please log in, please login, authentication required, auth required, requires authentication, without authentication, need to authenticate, needs authentication, requires auth, requires smtp authentication, requires smtp auth, must be authenticated, authentication is required, turn on smtp authentication, authorization required, \
            authorization is required, issue an auth, auth command first, smtp auth required, please use smtp auth, use smtp authentication, login required, enable smtp authentication, re authenticate, authentification requise, only authenticated, authenticate yourself, pop before smtp, check mail first, was not authenticated, authentication needed, auth first, proper authentication, authenticate before";
    AUTHSURE: "credential, password, user pass, login fail, authentication failed, authentication unsuccessful, auth failed, authorization code, authentication failure, authentication data, login incorrect, login denied, auth invalid, authentication credentials, incorrect authentication, authorization failed, login invalid, invalid login, authentication denied";
    // Recipients.
    DISABLED: "disabled, suspended, inactive, deactivated, locked, frozen, closed, on hold, discontinued, expired, terminated, temporarily unavailable, unavailable, abandoned, dormant, not active, blocked, isblocked, bloque, archived, not accepting, moved or locked, currently not accepting, retired, mailbox busy, administratively, not receiving, cannot receive mail, temporarily disabled, blocked due to inactivity, has been blocked, inactivity, no longer accept";
    NULLMX: "nullmx, null mx, does not accept mail, doesnt accept mail, does not accept email, doesnt accept email, accepts no mail, no mail accepted, no smtp service here, not accept mail for this domain, does not receive mail, never accepts, host does not accept, no incoming mail, does not accept any mail, domain does not accept";
    RELAYSURE: "relay, relaying, rcpthosts, relays, relayed, third party relay, weiterleitung, relais";
    RELAY: "not a local domain, not our domain, not hosted here, not hosted, not handled here, non local, nonlocal, not local domain, domain not served, foreign domain, cannot deliver mail for, cant deliver mail for, external recipient, remote recipient, not accept mail for, outside domain, dont handle, does not handle, doesnt handle, domain is not local, domain not local, recipient domain, not one of our, local domain, no such domain here, mail for domain, delivery to external, dont accept mail for";
    DOMAIN: "domain, ahost, mx, hostname, host name, sender domain";
    SPF: "spf, dkim, dmarc, sender policy framework, sender id, domainkeys, senderid, adsp, email authentication, not designated, message authentication, authentication checks, email is unauthenticated, it is unauthenticated, arc, bimi";
    DNSCHECK: "ptr, rdns, reverse dns, reverse lookup, reverse hostname, reverse ip, reverse map, reverse record, reverse address, reverse resolution, reverse name, reverse entry, inverse dns, fqdn, fully qualified, fcrdns, forward confirmed, ip name, name lookup, iprev, dns ptr, dns record, dns entry, generic dns, generic reverse, dynamic ip, dynamic ips, residential, dynamic or residential, dial up, dialup, dynamic address, helo name, helo hostname, helo domain, ehlo domain, ehlo name, helo mismatch, invalid helo, bogus helo, forged helo, bad helo, \
               helo must be, domain of sender, domain of your sender, sender domain must, sender domain does, sender domain not, no mx, mx record, a record, unresolvable, nxdomain, no mail exchanger, mailfrom domain, hostname lookup, find your hostname, find your reverse, without reverse, dns check, dns policy, domain not found, host not found, valid mx, not resolve, cannot resolve, could not resolve, doesnt resolve, unable to resolve, malformed dns, resolve your, resolution failure, name resolution, no dns, domain name does not, lookup failed, hosts with dynamic, dns lookup, from domain must, nonexistent domain, impersonating";
    BLACK: "blacklist, blacklisted, blacklisting, blocklist, blocklisted, black list, black listed, block list, block listed, rbl, rbls, dnsbl, dnsbls, spamhaus, spamcop, sorbs, reputation, denylist, deny list, spam source, pbl, sbl, xbl, banned, blocked using, listed in, listed by, listed on, listed at, list of spammers, spammer, rhsbl, zombie, botnet, uribl, ip blocked, known spam, sending spam, sent spam, mailed to spamtraps, spamtrap, spam trap, spamtraps, spam ip, spamming issues, spams from your, spams from, senderbase, talos, listing in, on our block, incident de spam, user complaints, jailed, fail2ban, intrusion prevention, abusive, permanently deferred, open proxy list, is fingered, in the tarpit, permanently blocked, barracudacentral, spam ips, zombied, ips blocked, spammers";
    URLBLACK: "surbl, uribl, url, link, links, urls";
    BLOCKED: "block, blocked, blocking, gesperrt, blockiert, locked out, firewall, listed";
    YOU: "ip, your ip, host, client, your address, anip, your server, network, this ip, sender ip, your mta, see, access from, your host";
    CONTENT: "spam, virus, malware, infected, phishing, uce, ube, unsolicited, worm, trojan, dangerous, executable, spammy, eicar, junk, suspicious, bulk, offensive, objectionable, malicious, ransomware, filtered, threat, scam, fraud, attachment, content rejected, message content, mail content, content filter, its content, banned content, banned file, forbidden attachment, mime, gtube, header syntax, duplicate header, missing header, message header invalid, invalid header, bad header, body part, html, macro, spamassassin, antispam, looks like spam, subject, sensitive, \
              potential security issue, security issue, attachments, banned attachment, message contains, contains nul, content denied, spm, security policies, suspicion of spam, error parsing message, parsing message, pourriel, scanners, bad header, rfc 0 compliant, from headers, message is not rfc";
    POLICY: "policy, policies, administrative, administratively, access, permission, authorized, unauthorized, owned, rule, acl, admin, verified, whitelist, white list, allowlist, allow list, country, geo, region, geographic, private, privilege, allowed, sandbox, null sender, null senders, restricted";
    POLICYSURE: "policy violation, policy reasons, policy rejection, local policy, policy restrictions, security policy, administrative prohibition, access denied, violates policy, against policy, violates our policy, rejected by policy, policy, prohibition, whitelist, not in whitelist, allowlist, safelist";
    OWNED: "not owned, does not belong, doesnt belong, send as, send on behalf, not own, sender mismatch, not allowed to send, not permitted to send, not authorized to send, as this sender, spoof, spoofed, spoofing, anti spoofing, not match, mismatch, badmailfrom, impersonate, must match, not the same, sender is not allowed, use this sender, not verified, not confirmed, verified sender, identical sender, unconfigured sending, sender name is not, sender not acceptable, sender has been denied, from address does not, sender not allowed, invalid sender, sender denied, sender rejected";
    VERIFY: "sender verify, callout, callback, verification failed for, sender verification, callback setup, callback failed";
    UNVERIFIED: "verification in progress, address verification, unable to verify, cannot verify, could not verify, not complete sender verify, verify recipient, checking address, cannot be verified, verification temporarily";
    NOVALID: "no valid recipient, all recipients, all rcpt, no acceptable recipient, no recipients accepted, valid recipients required, none of the recipients, no deliverable recipient, one valid recipient, no remaining recipients, all recipient addresses";
    INTERNALSERVER: "internal server error, server error, internal error, unrecoverable error, internal software error, software error, internal failure, permanent problem, fatal error, internal exception, incorrectly configured, misconfigured, unexpected exception, serverfehler, internal problem, critical error, uncaught, assertion";
    MULTIDOMAIN: "multiple destination, separate transaction, different domains, another transaction, destination domains, separate message, only one recipient, one recipient allowed, one recipient at, more than one recipient";
    RCPTREJ: "=recipient address rejected, =recipient rejected";
    SENDERREJ: "=sender address rejected";
    CLIENTREJ: "=client host rejected";
    HELOREJ: "=helo command rejected";
    CMDREJ: "=data command rejected, =etrn command rejected, =end of data rejected, =client host rejected for";
    ACTION: "=requested action not taken, =requested mail action not taken, =requested action aborted, =requested mail action aborted, =in reply to rcpt to command, =in reply to mail from command, =in reply to end of datacmd command, =in reply to datacmd command, =in reply to, =for more information, =for explanation, =for detail";
}

/// A phrase after its first word, and what it stands for.
struct Phrase {
    rest: Vec<u16>,
    concepts: Set,
    idiom: bool,
}

struct Matcher {
    words: HashMap<String, u16>,
    /// By first word; the longest first.
    phrases: Vec<Vec<Phrase>>,
}

static MATCHER: LazyLock<Matcher> = LazyLock::new(|| {
    let mut words: HashMap<String, u16> = HashMap::new();
    let mut phrases: Vec<Vec<Phrase>> = vec![Vec::new()];
    for &(concept, list) in VOCABULARY {
        for phrase in list.split(',').map(str::trim) {
            let idiom = phrase.starts_with('=');
            let ids: Vec<u16> = phrase
                .trim_start_matches('=')
                .split_whitespace()
                .map(|word| {
                    let mut word = word.replace('\'', "");
                    text::stem(&mut word);
                    let next =
                        u16::try_from(words.len() + 1).expect("the vocabulary is far below 65535 words");
                    *words.entry(word).or_insert(next)
                })
                .collect();
            phrases.resize_with(words.len() + 1, Vec::new);
            let Some((&first, rest)) = ids.split_first() else { continue };
            let same = &mut phrases[usize::from(first)];
            match same.iter_mut().find(|p| p.rest == rest) {
                Some(known) => {
                    known.concepts = known.concepts.or(concept);
                    known.idiom |= idiom;
                }
                None => same.push(Phrase { rest: rest.to_vec(), concepts: concept, idiom }),
            }
        }
    }
    for same in &mut phrases {
        same.sort_by_key(|p| std::cmp::Reverse((p.rest.len(), !p.idiom)));
    }
    Matcher { words, phrases }
});

/// The sentence's end, among the words' numbers.
const STOP: u16 = u16::MAX;
const QUOTE: u16 = u16::MAX - 1;

/// What a reply says: the concepts of each sentence.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// The listener's own sentences.
    pub(super) own: Vec<Set>,
    /// What it quotes of another host.
    pub(super) quoted: Vec<Set>,
}

impl Meaning {
    /// Reads a reply.
    pub(super) fn of(reply: &Reply) -> Meaning {
        let matcher = &*MATCHER;
        let mut ids: Vec<u16> = Vec::with_capacity(64);
        text::read(reply, |item| {
            ids.push(match item {
                Item::Word(word) => matcher.words.get(word).copied().unwrap_or(0),
                Item::Stop => STOP,
                Item::Quote => QUOTE,
            });
        });
        let mut meaning = Meaning::default();
        let mut quoting = false;
        let mut sentence = Set::NONE;
        let mut at = 0;
        let mut end = |sentence: &mut Set, quoting: bool| {
            if *sentence != Set::NONE {
                if quoting { &mut meaning.quoted } else { &mut meaning.own }.push(*sentence);
                *sentence = Set::NONE;
            }
        };
        while at < ids.len() {
            match ids[at] {
                STOP => end(&mut sentence, quoting),
                QUOTE => {
                    end(&mut sentence, quoting);
                    quoting = true;
                }
                id => {
                    let after = &ids[at + 1..];
                    for found in
                        matcher.phrases[usize::from(id)].iter().filter(|p| after.starts_with(&p.rest))
                    {
                        sentence = sentence.or(found.concepts);
                        if found.idiom {
                            at += found.rest.len();
                            break;
                        }
                    }
                }
            }
            at += 1;
        }
        end(&mut sentence, quoting);
        meaning
    }
}
