#!/usr/bin/env bash
# Google's Cloud SQL connector for Node.js over SQL Data: a connection ends after
# 30 s, in use or not, though sqlDataStreamTimeout says two hours, which is its
# default, too. The option is passed on in a place where nobody looks at it, and the
# default of the library for gRPC counts. The driver meets the end of the
# connection, and no error.
#
# The service is the least of one. Needs node, npm and openssl; a minute.
#
# Seen with @google-cloud/cloud-sql-connector 1.13.0, node v20.20.2:
#   the service is told to end the stream after 29.9 s
#   the connection has ended after 31.6 s
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >package.json <<'JSON'
{
  "private": true,
  "type": "module",
  "dependencies": {
    "@google-cloud/cloud-sql-connector": "1.13.0",
    "@grpc/grpc-js": "1.14.7",
    "google-auth-library": "11.3.4"
  }
}
JSON
npm install --ignore-scripts --no-audit --no-fund --silent
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out ca.pem \
	-subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
cat >finding.mjs <<'JS'
import {readFileSync} from 'node:fs';
import {Connector} from '@google-cloud/cloud-sql-connector';
import grpc from '@grpc/grpc-js';
import {OAuth2Client} from 'google-auth-library';

const raw = {requestSerialize: b => b, requestDeserialize: b => b, responseSerialize: b => b, responseDeserialize: b => b};

// A service that accepts each session, and says nothing more.
let told;
const service = new grpc.Server();
service.addService(
  {stream: {path: '/google.cloud.sql.v1beta4.SqlDataService/StreamSqlData', requestStream: true, responseStream: true, ...raw}},
  {
    stream(call) {
      told = (call.getDeadline() - Date.now()) / 1000;
      call.once('data', () => call.write(Buffer.from([0x1a, 0]))); // SessionMetadata
      call.on('data', () => {});
      call.on('error', () => {});
    },
  },
);
const port = await new Promise((resolve, reject) =>
  service.bindAsync(
    'localhost:0',
    grpc.ServerCredentials.createSsl(null, [{cert_chain: readFileSync('ca.pem'), private_key: readFileSync('key.pem')}]),
    (err, port) => (err ? reject(err) : resolve(port)),
  ),
);

const auth = new OAuth2Client();
auth.setCredentials({access_token: 'token', expiry_date: Date.now() + 3600 * 1000});
const connector = new Connector({auth, sqlDataEndpoint: `localhost:${port}`, sqlDataStreamTimeout: 2 * 3600 * 1000});
const {stream} = await connector.getOptions({instanceConnectionName: 'p:europe-west1:i', ipType: 'SQL_DATA'});
const began = Date.now();
const seconds = () => (Date.now() - began) / 1000;
const socket = stream();
socket.on('error', err => console.log('the driver is told', err.message));
setInterval(() => socket.writable && socket.write('x'), 1000);
const ended = await Promise.race([
  new Promise(resolve => socket.resume().once('close', () => resolve(true))),
  new Promise(resolve => setTimeout(() => resolve(false), 45_000)),
]);
console.log(`node ${process.version}`);
console.log(`the service is told to end the stream after ${told.toFixed(1)} s`);
console.log(ended ? `the connection has ended after ${seconds().toFixed(1)} s` : 'the connection is open after 45 s');
const good = ended && told > 25 && told < 31 && seconds() > 29;
if (!good) console.log('the behaviour has changed');
process.exit(good ? 0 : 1);
JS
GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca.pem node finding.mjs
