// smtp-server as `smtp_server.rs` starts it: node listener_in_node.cjs PORT OPTIONS (as JSON).
// Of each message it takes it says `message rcpt=N size=N`, before the reply.
const { writeSync } = require('node:fs');
const { SMTPServer } = require('smtp-server');

const [port, options] = process.argv.slice(2);
const server = new SMTPServer({
    name: 'smtp-server.test',
    authOptional: true,
    disableReverseLookup: true,
    onData(stream, session, done) {
        let size = 0;
        stream.on('data', (part) => (size += part.length));
        stream.on('end', () => {
            if (stream.sizeExceeded) {
                return done(Object.assign(new Error('Error: message exceeds fixed maximum message size'), { responseCode: 552 }));
            }
            writeSync(1, `message rcpt=${session.envelope.rcptTo.length} size=${size}\n`);
            done();
        });
    },
    ...JSON.parse(options),
});
// What a client does to its session is no fault of the listener.
server.on('error', (error) => console.error(String(error)));
server.listen(Number(port), '127.0.0.1');
