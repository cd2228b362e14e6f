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
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the constants below")]
        enum Index { $($name,)* }
        $(pub(super) const $name: Set = Set(1 << Index::$name as u32);)*
        const VOCABULARY: &[(Set, &str)] = &[$(($name, $phrases),)*];
        #[cfg(test)]
        pub(super) const NAMES: &[(Set, &str)] = &[$(($name, stringify!($name)),)*];
    };
}

concepts! {
    // How things are said.
    NEG: "not, no, cannot, cant, unable, without, dont, doesnt, isnt, arent, didnt, wasnt, havent, hasnt, wont, never, neither, none, lack, \
          fail to, failed to, refuse to, impossible, nicht, kein, keine, pas, unacceptable, non, could not, couldnt, cannot be, not be";
    MANY: "too many, too much, excessive, maximum number, max number, number of, maximum amount, more than 0, more than, too numerous, \
           so many, maximum of, max of, at most, no more, maximum allowed, allowed number, maximum count, only 0, only accept 0, up to 0, \
           excess number, zu viele, trop de, exceeds max, the maximum";
    EXCESS: "exceed, exceeded, exceeding, exceeds, excess, in excess, maximum, max, limit, limitation, limits, limited, over limit, reached, reach, hit, threshold, \
             over the limit, at capacity, capacity, overflow, above, beyond, allowable, overrun, overlimit, over, upper limit, maximal, exhausted, allotment, quota, \
             ueberschritten, too high, high, out of range, surpassed, depleted, limit exceeded, policy limit, limit of 0";
    FAIL: "fail, failure, failed, failing, unsuccessful, failures, unsuccessfully, broken, bad, crash, crashed, aborted, abort, cancel, cancelled";
    DENY: "deny, denied, reject, rejected, rejection, refuse, refused, refusing, refusal, prohibited, prohibition, prohibit, forbidden, disallow, \
           disallowed, not allowed, not permitted, not authorized, unauthorized, isnt allowed, not accept, not accepted, wont accept, not be accepted, \
           cannot accept, will not accept, dont accept, does not accept, do not accept, doesnt accept, declined, decline, \
           unwanted, not welcome, unwelcome, banish, access denied, go away, restricted, restriction, disabled by, no access, verweigert, abgelehnt, \
           nicht erlaubt, refuse to accept, permission denied, permission, not wanted, barred, dropped by, discarded, no longer accepted, may not, not let";
    INVALID: "invalid, bad, illegal, malformed, incorrect, wrong, improper, improperly, incorrectly, not valid, isnt valid, garbage, bogus, ill formed, mal formed, not a valid, isnt a valid, \
              not acceptable, unparseable, unparsable, cannot parse, could not parse, mangled, nonsense, no valid, ungueltig, wrongly, not a proper, unexpected";
    UNKNOWN: "unknown, no such, not exist, nonexistent, non existent, not found, not known, no longer valid, no longer exists, no longer available, not here, \
              unrouteable, unroutable, undeliverable, not deliverable, not listed, doesnt exist, does not exist, do not exist, dont exist, didnt exist, not be found, couldnt be found, could not be found, couldnt find, \
              could not find, cannot find, cant find, no mailbox, no user, no account, does not have, doesnt have a, doesnt have an, no local mailbox, not a known, isnt known, is not one of, \
              non local, unrecognized recipient, unresolvable recipient, no recipient, not our customer, never heard, not our user, unbekannt, inconnu, inexistant, existiert nicht, no one by, nobody by, nobody here, \
              invalid user, invalid mailbox, invalid recipient, bad recipient, not a user, is not a, no longer, not registered, dont know, don't handle, not present, not in our, not recognized as, moved, cannot be delivered to, no valid mailbox, bad destination, no one here, \
              not a mailbox, has no mailbox, no mail box, no mail boxes, isnt here, not valid here, unreachable recipient, not local, cannot be resolved, no delivery";
    ALREADY: "already, out of sequence, out of order, bad sequence, wrong sequence, sequence, nested, not allowed here, at this point, at this time in, in progress, only one, only once, \
              duplicate, twice, not yet, precede, before, mid transaction, during a mail, during a, within a, during, wrong order, in this state, wrong state, bad state, current state, this state, this stage, not expecting, \
              without prior, not in a, send hello first, hello first, polite, introduce, helo first, no transaction, not started, previous, prior, prior to, order, when a, in a transaction, not expected, now receiving, within mailmerge, within plain, without sender, outside, inside, after, follow";
    FIRST: "first, required, must be issued, must precede, must be sent, should precede, begin with, start with, need, needed, expected, expect, must send, must issue, must come, requires";
    REQUIRED: "require, required, requires, requirement, must, need, needed, mandatory, necessary, enforced, enforce, please turn on, turn on, only accept, please use, \
               you should, have to, first, only allowed, only permitted, only over, only with, enable, missing, please";
    TEMP: "temporary, temporarily, transient, tempfail, at this time, at present, at the moment, currently, right now, momentarily, moment, present, intermittent, try again, presently, deferred, defer, soft, for now";
    RETRY: "try again, retry, try later, try it later, come back, later, reconnect, resend, retrying, please wait, back off, another time, send again, sending again, resubmit, try sending, spaeter, plus tard, soon, try reconnecting, try your, again later, reessayer";
    DELAY: "=in 0 minute, =in 0 second, =in 0 hour, =after 0 minute, =after 0 second, =after 0 hour, =for 0 minute, =for 0 second, =for 0 hour, =in 0 min, =in 0 sec, =in 0, =in a few minute, =in an hour, =in a minute, =few minute, =0 second before, =0 minute before, =in about 0 minute, =wait 0 second, =wait 0 minute, =another 0 minute, =another 0 second, =least 0 second, =least 0 minute, =a few hours, =an hour, =next hour, =retry 0 second, =in 24 hours, =after 24 hours, =next day, =tomorrow, =0 minute later, =0 hour later, =0 second later, =minutes delay, =wait a, =within the hour, =for 0, =wait 0";
    PERMANENT: "permanent, permanently, fatal, fatally";
    ERROR: "error, problem, trouble, difficulty, difficulties, fault, failure, exception, issue, went wrong, broken, fehler, erreur, fail, cannot process, unable to process, could not process, couldnt process";
    // Rates.
    RATE: "rate, ratelimit, rate limit, rate limiting, ratelimited, throttle, throttling, throttled, frequency, frequent, frequently, too fast, to fast, too quickly, quickly, too often, slow down, flood, flooding, hammering, hammer, \
           tarpit, burst, too rapid, rapidly, rapid, speed, too soon, ratecontrol, rate control, fast, volume, bandwidth, ratenbegrenzung, peak, limited by rate, send less, velocity, pace, high volume, flow control";
    PERTIME: "per second, per minute, per hour, per time, minute, hour, sec, min, hr, h, m, second, period, time period, interval, time window, window, time frame, timeframe, time unit, unit of time, short time, time span, timespan, per 0, time limit period, stunde, recently, \
              in this period, within a short, in a short, lately, in too short, time slot, minutely, hourly, pro minute";
    PERDAY: "day, daily, per day, week, month, 24 hour, 24 hr, 24 h, 24, today, weekly, monthly, credit, for today, tages, tageslimit, per month, billing, plan limit, plan, free tier, pro tag, journalier, allowance, sending quota, message quota, monthly limit, sends, balance";
    QUOTA: "quota, overquota, overdrawn, allotment, allotted, quotas, quotaexceeded, over quota, storage quota, quota exceeded, mailbox quota";
    // Connections.
    CONNECTION: "connection, connect, connecting, connected, session, concurrent, simultaneous, simultaneously, concurrency, parallel, connexion, verbindungen, verbindung, tcp, smtp session, conversation";
    CONCURRENT: "concurrent, simultaneous, simultaneously, concurrency, parallel, concurrently, at once, at the same time, at a time, open connection, opened connection, active connection, incoming connection, gleichzeitige, open session, active session, connected client, existing connection, simultanees, opened session, open socket";
    PROCESS: "client, process, child, children, slot, thread, worker, daemon, server process, ports are busy, ports busy, lines busy, lines are busy, instances, handler, sockets, socket, smtpd, fork limit, incoming clients, servers running, connection pool, running";
    HOSTSCOPE: "=ip address, =ip addresses, from your host, from your ip, from your address, from your system, from your server, from your site, from your network, from anip, from ahost, from this ip, from this host, from this client, from this address, from this source, from this network, from this server, \
                from that ip, from that host, from same, from the same, from one, from a single, from single, from you, per ip, per client, per host, per source, per address, per remote, per server, per network, per subnet, from client, from host, from ip, from source, by your host, by your ip, by you, from remote, from your, with your host, \
                your ip, your host, your address, your server, your network, your site, this ip, same ip, same host, same client, same source, single ip, single host, single client, one ip, one host, this client, this source, source address, remote host, remote ip, source ip, client ip, ip anip, host anip, client anip, host ahost, from anaddr, subnet, netblock, network block, per connection source, by this client, \
                for this client, for this ip, for this host, for your ip, for your host, for anip, for ahost, client address, peer, your domain, your connection, for this source, of your ip, from your mail server, from your mailserver, ip address, ips, from ip address, for client, for ip, for host, by client, by ip, by host, to this client, you have, you already, from this sender, sending ip, sending host, from the ip, from the host, ip has, your side, your end, by anip, ip adresse, ihrer ip, votre ip";
    HERESCOPE: "to this host, to this server, to this system, to the server, to server, to host, to our, this server, this host, this system, on this server, on server, on this host, on this system, server connection, all server ports, all ports, all processes, all lines, all slots, the server, our server, our system, total connection, total number, overall, globally, global, the system, server wide, \
                server has, system wide, systemwide, for this server, for server, of the server, for this domain, to this domain, to domain, server limit, here, to us, to this site, entire, whole, on our side, machine, the daemon, in total, accepting connections, inbound connection, ports are busy, ports busy";
    LISTENERSCOPE: "this listener, listener, this port, listening port, this interface, on port, to port, this service port, endpoint, this endpoint, per listener, this socket";
    USERSCOPE: "for user, per user, for this user, from this user, by this user, by user, user has, per account, for account, for this account, for your account, your account, from your account, this account, for this mailbox, per mailbox, this mailbox, same user, same mailbox, same account, for the user, for the account, from user, for recipient, recipient thread, for this recipient, this user, username, mailbox thread, to this mailbox, to mailbox, to this recipient, mailbox delivery, per recipient, for mailbox, destination mailbox, for anaddr, account connections, logged in, login sessions, for login, that account";
    LIFETIME: "connection time, session time, session duration, connection duration, session lifetime, connection lifetime, duration, lifetime, connection expired, session expired, time limit, deadline, life time, connected too long, connection too long, session too long, session lasted, connection lasted, lasted too long, lasted, too long connected, been connected, \
               connection has been open, been open, maximum time, total time, max time, session length, session limit time, allowed time, open for, open too long, overall time, hard limit, session time limit, connection time limit, time allowed, transaction time, too long a session, time to live, time budget, session age, age, maximum session, conversation took too long, session took too long, took too long, taking too long";
    // Sessions.
    BADCOMMANDS: "error, bad command, invalid command, unknown command, unrecognized command, junk command, nonmail, non mail, failed command, syntax error, protocol error, noop, rset, unimplemented command, smtp error, illegal command, wrong command, incorrect command, bad smtp command, mistake, misbehaving, abuse, useless command, unsupported command, command, failure, fault, violation, strike, cmd, vrfy, expn, helo, request, garbage";
    DISCONNECT: "=closing connection, =closing channel, =closing transmission channel, =closing transaction channel, =closing session, =close connection, =dropping connection, =server closing connection, goodbye, good bye, bye, closing, disconnect, disconnecting, disconnected, hang up, hanging up, closing connection, closing channel, closing transmission channel, closing transaction channel, closing session, terminating, connection closed, close connection, terminated, shut the connection, dropping, dropping connection, closed connection, closing down, cya, will be closed, being closed, has been closed, connection terminated";
    BADRCPT: "invalid recipient, invalid rcpt, bad recipient, bad rcpt, unknown recipient, unknown user, unknown rcpt, invalid user, invalid address, invalid addresses, unknown address, nonexistent recipient, nonexistent user, nonexistent address, non existent recipient, non existent user, non existent address, failed recipient, rejected recipient, wrong recipient, unknown mailbox, invalid mailbox, rejected rcpt, failed rcpt, bad address, incorrect recipient, undeliverable recipient, unverified recipient, recipient failure, recipient error, rcpt error, rcpt failure, user unknown, wrong rcpt, bad destination, bad user, bad mailbox, recipients unknown, recipients rejected, recipient rejected, recipients failed, undeliverable address, incorrect address, \
              invalid recipient address, nonexisting recipient, nonexisting user, non existing user, non existing recipient, unknown recipient address, bounces, rejections, unresolvable recipient, illegal recipient, bad local recipient, nonexistent mailbox, recipient not found, user not found, invalid destination, non valid recipient";
    HARVEST: "directory harvest, harvest, harvesting, dictionary attack, dhap, dha, directory attack, address probing, recipient probing, rumplestiltskin, user probing, address harvesting, dictionary";
    ATTEMPT: "attempt, try, tries, guess, login failure, retries, trial, bad login, bad auth, times, failed login, attempts";
    // Things.
    COMMAND: "command, verb, keyword, cmd, instruction, smtp command, commands, request, statement, helo, ehlo, vrfy, expn, etrn, turn, noop, rset, lhlo, bdat, xclient, mailcmd, datacmd, xdfn, xprt, saml, send, soml, quit, help, function";
    CMDNAME: "helo, ehlo, hello, mailcmd, datacmd, rcpt, mail from, rcpt to, bdat, mail command, rcpt command, data command, lhlo, mail first, mail fromcmd, rset, greeting first, sender first, recipient first, say hello, greet, transaction, rcpt first, data, mail transaction, auth command, starttls command, xclient, xforward, mail must, need mail, no mail, sender already, sender not, use helo, use ehlo, quit, noop, starttls, authcmd, xprt, xdfn, parts, mail needed, mail already, envelope, from first, mail to, tls already, sender has";
    LINE: "line, command line, text line, lines, command, argument, path, smtp line, data line, input, response, request, local part, sasl response, string, verb, buffer";
    LONG: "long, length, longer, too long, overlong, over long, oversized line, line limit, response limit, line size, command size, line buffer, buffer overflow, buffer full, too lengthy, characters, line overflow";
    SIZE: "size, large, big, huge, oversize, oversized, too large, too big, databytes, kb, mb, gb, kilobyte, megabyte, byte, octets, bytes, mib, message length, data length, message too long, mail too long, body too long, data too long, bigger, larger, grosse, groesse, volume, mail data, message data, much data, heavy, length, msgsize, maxsize, too much data, too much mail data, mail size, message size, taille, volumineux, storage allocation, storage limit";
    TOOBIG: "too big, too large, too long, oversize, oversized, bigger than, larger than, too much data, too much mail data, huge, too heavy, large than, overlong, big, ridiculously, excessively, excessive, exceeded storage allocation, zu gross, trop volumineux, longer than, so large, too lengthy, maxsize, not fit, so big";
    HEADER: "header, headers, head, header block, header line, header field, header section, message header, header size, mail header, headerlines";
    HOPS: "hop, hops, loop, looping, loops, received header, received lines, received line, mail loop, hop count, hopcount, routing loop, looped, delivered to header, bouncing between, received, received field, circular, forwarding loop, mailloop, ttl, mail looping, schleife";
    LOOP: "loop, looping, mail loop, mailloop, hop, hops, hop count, hopcount, routing loop, looped, circular, forwarding loop, loops, mail looping, ping pong";
    BARE: "bare, stray, naked, lone, bare lf, bare cr, bare line feed, bare linefeed, isolated, unescaped, bare newline, bare carriage, single, only lf, without cr, without lf, smuggling, smuggled, non crlf, standalone, raw, unaccompanied, unpaired, dangling, orphan, alone, without carriage, without line, unix line";
    LINEEND: "lf, cr, crlf, linefeed, line feed, newline, line ending, line terminator, line delimiter, end of line, eol, carriage return, carriage, new line, lines ending, line break, end of data, end of message, linefeeds, line endings, newlines, carriage returns, dot sequence, cr lf, terminator";
    MUSTCRLF: "must be, must use, must end, not crlf, terminated, use crlf, instead of, end with, ended, violation of, not terminated, should be, only, incorrectly, invalid, improper, bad, illegal, standard, nonstandard, malformed, required, violation, not allowed, mixed, reject";
    SMTPLF: "smtplf";
    RCPT: "recipient, rcpt, envelope recipient, addressee, destinations, destination, recipients, to many recipient, rcpt to, destinataire, empfaenger, addresses, rcpts, recip";
    MESSAGE: "message, mail, email, msg, transaction, delivery, deliveries, submission, mail transaction, envelope, messages, sent, send, sending, emails, nachricht, mails, deliver, mailing, receiving mail";
    BODY: "body, content, text, attachment, mime, payload, part, body part, message content, mail content, url, link, subject";
    USER: "user, account, mailbox, address, inbox, alias, mail box, local part, username, userid, recipient, mailbox name, destination, destination address, user name, person, employee, mailing list, postbox, anaddr, login, member, subscriber, benutzer, postfach, utilisateur, boite, rcpt, customer, mail address, email address, recipient address, addressee, rcpt to, user account, list, group, email account, name, local recipient, destination mailbox, addresses";
    MAILBOX: "mailbox, inbox, account, user, recipient, mail box, mailstore, maildir, users mailbox, mail storage, mailbox quota, users, recipients mailbox, postbox, email account, postfach, boite, rcpt, imap, storage quota, mail quota, mail folder, store, anaddr, address";
    SENDER: "sender, mail from, from address, return path, envelope from, envelope sender, originator, senders address, from header, absender, expediteur, from domain, sender address, sender domain, reverse path, from field, mailfrom, author, from line, header from, sending domain, your address, your email address, originating, your domain, mail fromcmd";
    FULL: "full, over quota, overquota, out of storage, no space, storage exceeded, mailbox full, exceeded storage, voll, pleine, filled, no room, out of space, overdrawn, exceeded its, over its, storage limit, storage quota, exceeded their, over his, over their, not enough space, insufficient space, not enough room, over allocated, above quota, too full, over the quota, mail quota, exceeded quota, quota exceeded, out of quota, exceeds quota, disk quota, disc quota, is full, storage space, past its, quota";
    DISK: "disk, disc, filesystem, file system, storage, space, volume, partition, spool space, free blocks, inode, disk space, free space, system storage, file space, disks, harddisk, spool area, spool disk, storage space, speicherplatz, diskspace, free disk space, spool directory, no space left";
    SHORT: "insufficient, insufficiently, low, shortage, short, full, not enough, out of, no space, enough, left, lack of, no free, exceed, depleted, exhausted, no more, running out, little, ran out, unavailable, limited, critical, overfull, nearly full, error";
    QUEUE: "queue, queues, mail queue, backlog, backlogged, incoming queue, spool queue, queued, message store, mail system full, warteschlange, spooler, messages in queue, messages queued, in queue, spool";
    QUEUEFULL: "mail system full, queue full, queue limit, queues are full, queue is full, backlogged, queue overflow, queue size limit, queue too large, queues full, queue quota, queue is too, queue overload, message store full, too many messages in queue, queue has, backlog, queue congested, queue depth, full queue, system is full, mail system is full, system mailbox full, spool full, spool is full";
    LOAD: "load, busy, overload, overloaded, too busy, memory, resource, fork, cpu, heavy load, load average, load shedding, system resources, loaded, out of memory, congest, congestion, congested, swamped, overwhelmed, file descriptor, open files, malloc, threads, server busy, high load, pressure, backpressure, back pressure, ueberlastet, surcharge, toobusy, stressed, ram, alloc, cant fork, no resources, starved, toomanyfiles, under heavy, under load";
    SHUT: "shutdown, shutting down, shut down, shutting, restart, restarting, restarted, stopping, going down, closing down, stop, stopped, reboot, rebooting, server closing, terminating, server terminating, shuttingdown, about to close, being stopped, being shut down, is going, reloading, reload, server exiting, exiting, heruntergefahren, terminate, drained, draining, server is stopping, reconfiguring, reconfigure";
    MAINTENANCE: "maintenance, upgrade, upgrading, wartung, maintenance window, being serviced, migrating, migration, update, updating, standby, offline, out of service, passive node";
    UNAVAILABLE: "not available, unavailable, not accepting, not active, offline, out of service, not ready, not running, no service, inactive, isnt available, not currently available, not currently accepting, not be available, isnt accepting, unavailable now, cannot be reached, not operational, isnt ready, not presently, suspended, inaccessible, disabled, unreachable, cannot accept message, cannot accept mail, cannot accept connection, cannot accept email, cannot accept any, not accept any, not accepting messages, not accepting mail, not accepting network, not accept mail, not accept connection, not accept message, not accept email, not taking, no longer accepting, not respond, not responding, is down, down, not be reached, not serving, not provide, not working, waiting for, starting up, startup, out to lunch, isnt running, ausser betrieb, nicht verfuegbar, unable to accept, no smtp service, no mail service, no smtp";
    SERVICE: "=mail server, =mail system, =mail service, =mail host, =mail exchanger, =mail gateway, =email system, =email server, =mail delivery system, =e mail system, =smtp server, service, server, system, host, site, smtp, mail server, mail system, daemon, mailserver, mail service, mta, esmtp, dienst, mx, gateway server, smtp server, mailer, mail host, destination system, machine, mail exchanger, smtp service, here, mail gateway, email system, email server, this mail system, e mail system, mail delivery system, receiver, server error, we, lmtp, backend server, submission server, messaging system";
    LOCAL: "local, internal, internally, configuration, misconfigured, configured, configure, config, setup, temporary system, lookup, database, ldap, mysql, sql, dns, backend, milter, filter, scanner, scan, scanning, clamd, clamav, spamd, amavis, antivirus, i o, io, write, read, file, disk, spool, process, processing, processed, queue, resolver, upstream, delivery agent, mail system, storage backend, script, plugin, module, program, content filter, policy server, policy service, proxy, lmtp, server, system, pipe, hook, directory, redis, mongodb, verification, verify, verifying, callout, check, checking, checked, spf verification, error reading, recipient verification, sender verification, address verification, hashing, tempfile, temporary file, lock, smarthost, downstream, next hop, nexthop, relay host, authentication server, dns server, dns lookup, service, software, database error, application, callback, resolving, lda, dispatch, virus scanner, virus checker, data, access, quarantine, evaluating, handling, relaying, message, mail, technical";
    BACKEND: "lookup, database, ldap, mysql, sql, dns, backend, milter, filter, filtering, scanner, scanning, clamd, clamav, spamd, amavis, antivirus, write, writing, read error, reading, spool, processing, queue, qq, upstream, content filter, policy server, policy service, proxy, lmtp, pipe, hook, redis, verification, verifying, callout, next hop, nexthop, downstream, smarthost, delivering to, deliver to, dns lookup, resolver, lock, virus, scan, callback, to backend, remote server, remote host, destination server, target, delivery, hashing, delivery agent, disk, file, resolving, evaluating, checking, verify, server socket, dspam, spam check, analysis, virus check, bayes, internal";
    LICENSE: "license, licence, licensed, licenced, subscription, evaluation, trial, evaluation license, license has expired, unlicensed, product key, demo, lizenz, evaluation period, trial period, license key, activation, registration key";
    EXPIRED: "expire, expired, ended, invalid, exceed, over, not found, missing, lapsed, violation, expiration, limit, not valid, not active, abgelaufen, no, inactive";
    // Waits.
    GREYLIST: "greylist, greylisted, greylisting, graylist, graylisted, graylisting, grey listed, gray listed, grey listing, gray listing, grey list, gray list, postgrey, gld, sqlgrey, greytrap, grey, graylisting in, first time sender, first time you, new sender, first contact, unknown triplet, new triplet, triplet, greymilter, delayed delivery, milter greylist, early retry, greyed, not yet authenticated sender, first attempt, new relay, liste grise, grau, not seen before, never seen, retrying too soon, too soon";
    TIMEOUT: "timeout, timed out, time out, times out, timing out, idle, inactivity, no activity, took too long, too slow, waiting for, waited too long, timeouts, no input, no command received, idling, no data received, not received in time, zeitueberschreitung, read timeout, command timeout, no response, nothing received, slow, waiting too long, inactive for, idle for, inactive connection, client inactive, inactive session, idled out, time exceeded, timeout exceeded, no command, too long to, been idle, delai, taking too long, autologout, without activity, data timeout, timedout, alarm, no traffic, stalled, patience, asleep, sleeping, in time, fall asleep";
    LOST: "connection lost, lost connection, connection dropped, connection reset, connection aborted, broken pipe, unexpected disconnect, lost input, lost incoming, lost, unexpected eof, peer disconnected, client disconnected, connection broken, dropped connection, dropped due, connectionreset, reset by peer, unexpected end, remote closed, disconnected unexpectedly, eof, aborted connection, connection closed by, connection was closed, client closed, premature end, unexpectedly closed, closed unexpectedly, disconnected by client, went away, read error, write error to client, connection has been lost, connection interrupted, connection error, connection was aborted, stream closed, socket error";
    // Protocol.
    SYNTAX: "syntax, syntactically, parse, parsing, malformed, invalid argument, bad argument, invalid parameter syntax, ascii, nul, utf8, utf 8, character, argument, arguments, colon, bracket, brackets, angle, format, formatted, badly formed, usage, path, ill formed, missing argument, null character, 8bit, 8 bit, control character, not parse, base64, base 64, decode, decoding, decoded, encoding, part number, variable, ungarbled, garbled, unparseable, unparsable, understand, domain address, requires domain, must contain a, fully qualified address, parameter required, parameters required, requires parameter, no parameters, parameter missing, parameter expected, argument required, domain required, domain name required, hostname required, needs argument, requires address, no argument, unbalanced, wrong number, too few, requires domain name, address required, requires hostname, requires an, requires a, empty, mailbox syntax, invalid domain name, spaces, parenthes, unterminated, quoted string, specified, valid address, address must, without domain, domain missing, incomplete, expected, wrong format, parameter, null, invalid address, invalid email address, bad email address, unmatched, xxx, invalid domain, is not valid email, trailing, white space, whitespace, numeric";
    SYNTAXSURE: "syntax, syntactically, syntax error, malformed, parse error, parsing, unparseable, unparsable, ill formed, mal formed, not parse, badly formed, base64, base 64, bad syntax, invalid syntax, usage, unbalanced, garbled, unterminated, part number, variable name, variable value, nul character, null character, angle brackets, angle bracket, unmatched, syntax is, syntaxe";
    UNREC: "unrecognized, not recognized, not understood, unimplemented, not implemented, not recognised, unsupported, not supported, no such, not understand, dont understand, not known, unknown, not allowed, disabled, not enabled, isnt supported, isnt implemented, not available, unavailable, huh, what, eh, not a valid, invalid, doesnt recognize, not recognize, what does, no idea, bad, illegal, isnt recognized, isnt valid, not valid, didnt understand, havent the faintest, never heard, doesnt support, not support, does not support, unbekannt, unexpected, wrong, pardon, obsolete, deprecated, removed, makes no sense, speak";
    PARAM: "parameter, param, option, extension, value, esmtp parameter, argument, esmtp keyword, arguments, notify, envid, body type, smtputf8, orcpt, ret, feature, body value, 8bitmime, binarymime, dsn, size parameter, keyword, mtpriority, deliverby, body parameter, chunking, attribute, keywords";
    PIPELINE: "pipelining, pipelined, pipeline, synchronization, unsynchronized, synchronous, sync, protocol error, protocol violation, protocol sequence, talk before, early talker, earlytalker, too soon, pregreet, pre greeting, pregreeting, before greeting, before the greeting, before banner, before my, out of turn, premature, prematurely, improper use, http, https, break rules, early talking, spoke, talking too soon, talked, before its turn, before your turn, wait for, not wait, didnt wait, dont wait, protocol abuse, prior to greeting, before smtp banner, smtp protocol, violate, violates, violated, rfc violation, ahead of, impatient, get method, post method, greet, greet pause, before 0, before banner, proxy attempt, before we, before being, speaking, speak first, talking, violation, talks, tls garbage, binary data, unsolicited data, eager, patient, non compliant, cross protocol, web browser, earlytalking, talk first, sent before, pre banner, protocol breach, injection, buffered data, data received before, after starttls, extra data, unexpected data, prebanner, bot, zombie, client speaks";
    // TLS and AUTH.
    TLS: "tls, ssl, starttls, sslv3, tlsv1, tlsv1_2, starttls command, start tls, transport layer security, security subsystem, sslv2, https, tls1, security layer";
    STARTTLS: "starttls, starttls command, start tls, must issue a starttls, issue starttls, use starttls, use tls, stls, tls first";
    ENCRYPT: "encryption, encrypted, encrypt, secure connection, secure channel, secure transport, plaintext, plain text, unencrypted, confidentiality, lack of security, insecure, cleartext, clear text, encrypted channel, encrypted connection, secured connection, security, non secure, unsecured, unsecure, secure session, protected connection, privacy, verschluesselung, cryptographic, chiffree, ssl connection, tls connection, secure, over tls";
    CERT: "certificate, cert, handshake, cipher, negotiate, negotiation, protocol version, ssl error, tls error, tls handshake, tls negotiation, security failure, untrusted, tls version, certificates, sni, starttls failed, mutual tls, ciphers, tls failure, dane, tlsa, ssl handshake, security error, client certificate, x509, tls protocol error, mta sts, ssl routines, tls setup";
    AUTH: "auth, authentication, authenticate, authenticated, authenticating, authcmd, sasl, login, logon, log in, log on, logged in, logged on, credential, password, smtpauth, smtp auth, smtp authentication, passphrase, authorization, auth type, authentifizierung, authentification, authentications, auth login, oauth, oauth2, xoauth2, user name and password, username and password, passwd, identification, anmeldung, mot de passe, unauthenticated, log into, sign in, signed in, login name, account credentials, api key, token, smtp login, pop before smtp, check mail first, popauth, smtp auth first, identity, secret, authid, passwort";
    MECH: "mechanism, method, type, cram md5, plain, digest md5, ntlm, gssapi, auth type, authentication type, mechanisms, auth mech, mech, scheme, auth method, auth mechanism, security feature, authentication scheme, cram, auth types, protocol, xoauth2";
    LOGIN: "unauthenticated, not authenticated, not logged in, anonymous, without authentication, please authenticate, authenticate first, must authenticate, not authenticated yet, log in first, login first, must log in, must login, please log in, please login, authentication required, auth required, requires authentication, not signed in, without auth, need to authenticate, needs authentication, requires auth, authenticate before, authentication is required, without logging in, authenticate yourself, turn on smtp authentication, authenticated users, authorized users only, authenticated user, only authenticated, check mail first, pop before smtp, pop first, after authentication, smtp auth first, authenticated sessions, authenticated clients, smtp auth is required, use smtp auth, enable smtp authentication, authentication mandatory, auth first, unauthenticated senders, unauthenticated connection, auth command first, unauthenticated mail, smtp authentication, log on first, enable authentication, enable smtp auth, authorization required, please use smtp authentication, requires smtp auth, pop3 first, check your mail, login required, authentifizierung erforderlich";
    // Recipients and policy.
    DISABLED: "disabled, suspended, inactive, deactivated, locked, frozen, not active, closed, on hold, discontinued, expired, blocked account, terminated, temporarily unavailable, unavailable, abandoned, dormant, not enabled, has been closed, account closed, not accepting messages, not accept messages, not accepting mail, not accept mail, not accept email, not accepting email, isnt accepting, locked out, gesperrt, deaktiviert, desactive, deactive, cancelled, not currently accepting, mailbox busy, retired, deleted, administratively disabled, busy, removed, switched off, no longer active, no longer accepts, not receiving, not receive, cannot receive, currently unavailable, receiving disabled, not available, left the company, is locked, in use, lock, being moved, overdue";
    NULLMX: "nullmx, null mx, does not accept mail, doesnt accept mail, not accept mail for, does not accept email, domain does not accept, doesnt accept email, accepts no mail, no mail accepted, no smtp service here, host does not accept, no longer accepts mail, does not receive, server does not accept mail, never accepts, not accept any mail, not accept incoming, not receive email, no mail service, not receive mail, does not accept incoming mail, domain not accepting mail, no incoming mail, no inbound mail, host doesnt accept, accept no mail, send only";
    RELAY: "relay, relaying, relayed, rcpthosts, open relay, allowed rcpthosts, relays, not a local, third party, relay access, local domain, not a local domain, not our domain, not hosted, not handled, weiterleitung, relayage, relais, gateway, not hosted here, allowed recipient domain, accepted domain, not one of our, domain isnt in my list, recipient domain, not local domain, domain not served, domain not hosted, not serve, not responsible, foreign domain, non local domain, external recipient, no such domain, not accept mail for domain, outside domain, dont handle, dont host, not handle mail, not accept mail for, domain not local, does not host, remote recipient, for this domain, to external, we dont handle, external domain, unknown domain, domain unknown, mail for this domain, domain not found here, domain not handled, domain not accepted, domain not allowed, not on our list, to this domain, mail to domain, for that domain, domain not configured, domain not in, not a domain";
    RELAYSURE: "relay, relaying, relayed, relay access, rcpthosts, open relay, allowed rcpthosts, relays, third party relay, relaying denied, relay denied, weiterleitung, relayage, relais";
    DOMAIN: "domain, domains, ahost, host name, mx, hostname, sender domain, from domain, domaine, name";
    SPF: "spf, dkim, dmarc, sender policy framework, sender id, domainkeys, domain key, spf record, dkim signature, sender policy, arc, spf check, senderid, author domain, adsp, domainkey, dkim check, dmarc policy, spf fail, spf failed, forged, forgery, unauthenticated email, email authentication, unauthenticated mail, not designate, bimi, alignment, aligned, unauthenticated message, message authentication, srs, batv, authentication checks, authentication results";
    DNSCHECK: "ptr, ptr record, rdns, reverse dns, reverse lookup, reverse hostname, reverse ip, reverse map, dns record, mx record, a record, fqdn, fully qualified, fully qualified hostname, not fully, resolve, resolved, resolvable, resolves, unresolvable, dns lookup, hostname, host not found, domain not found, no dns, forward confirmed, fcrdns, helo command rejected, helo name, helo argument, ehlo name, helo domain, invalid helo, bad helo, helo hostname, hostname lookup, ip name, reverse name, reverse record, reverse address, reverse resolution, valid mx, dns entry, mx or, mx and, no mx, dns, malformed dns, bogus helo, helo is, helo must, forged helo, dynamic, dynamic ip, generic reverse, generic hostname, generic rdns, resolver, forward dns, nxdomain, no reverse, helo mismatch, helo does not, helo or, ehlo or helo, ehlo hostname, domain of sender address, resolve domain, find your hostname, find your reverse, domain does not exist, domain must, rdns check, reverse mapping, in addr, sender domain must, sender domain does, reverse, helo check, unknown host, nonexistent domain, host unknown, no a record, dynamic address, dial up, dialup, residential, domain name, in dns, helo, ehlo, inverse, non fqdn, nonresolvable, invalid hostname, impersonating, mx records, inverse dns, name lookup, reverse dns lookup, without reverse, pointer, iprev";
    BLACK: "blacklist, blacklisted, blocklist, blocklisted, blacklisting, black list, black listed, block list, block listed, rbl, rbls, dnsbl, dnsbls, dns blacklist, spamhaus, spamcop, sorbs, reputation, denylist, deny list, spam source, poor reputation, bad reputation, pbl, sbl, xbl, zen, ban, banned, sbl xbl, blocked using, listed in, listed by, listed on, listed at, list of spammers, spam list, known spammer, spammer, spammers, bl, abuse list, drop list, ip blocked, zombie, botnet, blackholed, blackhole, threat list, uribl, ip reputation, ip list, reputation list, on our block, blocked by, sent spam, sending spam, spamming, reputation system, barracuda reputation, blocked list, spam trap, spamtrap, shitlist, schwarze liste, liste noire, hostile, abusive, known spam, block by, blocking list, on a block, ip block, jailed, dnswl, blocked due, rhsbl, dbl, surbl, rhsbls, sperrliste, fail2ban, spam database, abuse, complaint, compromised host, spam host, talos, senderbase, cbl, spam gateway, penalty box, blacklists, ip address has been, fingered, suspicious ip, reputation filter, intruder";
    BLOCKED: "block, blocked, blocking, listed, ban, banned, gesperrt, blockiert, bloque, lockout, locked out, firewall, locked, rejected by, quarantined, penalty";
    YOU: "ip, your ip, your host, client, client host, your address, host, your server, anip, ahost, you, network, connection, your mail server, address, this ip, remote host, your network, ips, sender ip, sending, server, connections from, your mta, source";
    CONTENT: "spam, virus, malware, infected, infection, phishing, uce, ube, unsolicited, worm, trojan, dangerous, executable, spammy, spam message, spam content, eicar, junk mail, junk email, looks like spam, considered spam, spam score, suspicious, suspected, spam detected, bulk, bulk mail, offensive, objectionable, inappropriate, infiziert, malicious, ransomware, message filtered, filtered, threat, scam, fraud, pourriel, spamassassin, content rejected, content filter, content not, advertisement, banned content, banned file, banned attachment, forbidden attachment, spam filter, antispam, contains a virus, message content, content, attachment, attachments, file type, body, unwanted content, bayes, mime, charset, language, multiple from, message format, rfc 0 compliant, message headers, missing header, message header, rfc compliant, subject, html, zip, extension, macro, url, urls, links, link, message contains, encrypted archive, signature, duplicate header, header syntax, from header, header, fingerprint, junk, message id, date header, non ascii, spamlike, spam like, scored, probability, file name, filename, gtube, archive, eicar test signature, message identified, message considered, dlp, data loss, sensitive, pattern match, potential security issue, security issue, mime error, malformed message, message structure, message is not, undesirable content";
    SPAMSURE: "spam, virus, malware, infected, phishing, uce, ube, worm, trojan, spammy, spam message, eicar, junk mail, junk email, looks like spam, considered spam, spam score, spam detected, content rejected, malicious, spamassassin, attachment, attachments, message filtered, message content, contains a virus, bulk, unsolicited, scam, spam content, spamlike, spam like, gtube, banned file, executable, spam filter, antispam, message contains, infected message, header syntax, from header, missing header, mime, body, html, content, from headers, eicar test signature, junk, url, urls, infection, fraud, suspicious, banned attachment, potential security issue, charset, dangerous, file type, filtered, message headers, duplicate header, message id, subject, date header, non ascii, threat, offensive, fingerprint";
    POLICY: "policy, policies, policy reasons, administrative, administratively, access, permission, permissions, authorized, unauthorized, owned, allowed, rule, rules, acl, security policy, local policy, admin, administrator, prohibited, access list, ip not, whitelist, white list, allowlist, allow list, not verified, country, geo, region, whitelisted, geographic, regulations, compliance, terms, private, restrictions, privileges, not welcome, permit, permitted, banned, disallowed, verification";
    OWNED: "not owned, does not belong, doesnt belong, send as, send on behalf, not own, sender mismatch, not allowed to send, not permitted to send, not authorized to send, not allowed to use, as this sender, spoof, spoofed, spoofing, not match, mismatch, not allowed sender, belongs to, badmailfrom, impersonate, sender not allowed, sender denied, sender rejected, not verified, must match, different from, sender is not allowed, isnt allowed to send, cannot send as, not allowed from, sender verify, use this sender, use that sender, authorized sender, not permitted to use, on behalf of, same as";
    VERIFY: "verify, verification, verified, unverified, callout, callback, sender verify, address verification, recipient verification, verifying";
    UNVERIFIED: "verification in progress, verify recipient, cannot verify, could not verify, couldnt verify, unable to verify";
    NOVALID: "no valid recipient, no valid recipients, no recipient, no recipients, no valid rcpt, all recipients, all rcpt, need valid, without recipients, without valid, any valid recipient, zero recipients, no acceptable recipients, no recipients accepted, no valid recipients specified, 0 valid recipient, no accepted recipients, none of the recipients, all recipients were rejected, no deliverable, no remaining recipients, recipients rejected, valid recipients required";
    UNEXPECTED: "unexpected, unhandled, unspecified, generic, undefined, unknown error, other";
    INTERNALSERVER: "internal server error, server error, internal error, server internal error, unrecoverable error, internal software error, software error, server failure, internal failure, permanent problem, fatal error, internal exception, misconfigured, incorrectly configured, misconfiguration, configuration error, unexpected exception, programming error, bug, serverfehler, internal problem, uncaught, erreur interne, critical error, interner fehler, server bug, assertion";
    WHITELIST: "whitelist, not in whitelist, whitelisted, white list, allowlist, allow list, not whitelisted, not on whitelist, safelist, not in the whitelist, not allowlisted";
    MULTIDOMAIN: "multiple destination, separate transaction, one recipient, single recipient, one at a time, different domains, one domain, another transaction, different destination, destination domains, this recipient in, one recipient at, only one recipient, more than one recipient, in this transaction, separate message, separately";
    CONFIRM: "codnum";
}

/// A phrase after its first word, and what it stands for.
struct Phrase {
    rest: Vec<u16>,
    concepts: Set,
    idiom: bool,
}

struct Matcher {
    words: HashMap<String, u16>,
    /// By first word; idioms first, the longest first.
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
        same.sort_by_key(|p| std::cmp::Reverse((p.idiom, p.rest.len())));
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
