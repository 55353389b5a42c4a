// Connects with Google's connector. Each line of the standard input is a request,
// which is answered with a line: see the type Request in ../peer.go.
import dns from 'node:dns';
import {once} from 'node:events';
import {createInterface} from 'node:readline';
import {Connector} from '@google-cloud/cloud-sql-connector';
import {OAuth2Client} from 'google-auth-library';
import mysql from 'mysql2/promise';
import pg from 'pg';

const connectors = new Map(); // by name
const conns = new Map(); // those that stay open, by name

// auth is nothing for Application Default Credentials, which have one token for the
// API and another for logins.
function auth(r) {
  process.env.GOOGLE_APPLICATION_CREDENTIALS = r.credentials;
  if (!r.noExpiry) return undefined;
  const client = new OAuth2Client();
  client.setCredentials({access_token: r.noExpiry});
  return client;
}

function connector(r) {
  if (!connectors.has(r.connector)) {
    if (r.resolver) dns.setServers([r.resolver]);
    connectors.set(r.connector, new Connector({
      auth: auth(r),
      sqlAdminAPIEndpoint: r.endpoint,
      sqlDataEndpoint: r.sqlData,
      sqlDataStreamTimeout: 2 * 3600 * 1000, // has no effect
    }));
  }
  return connectors.get(r.connector);
}

function options(r) {
  return connector(r).getOptions({
    [r.resolver ? 'domainName' : 'instanceConnectionName']: r.instance,
    ipType: r.sqlData ? 'SQL_DATA' : r.isPrivate ? 'PRIVATE' : 'PUBLIC',
    authType: r.iam ? 'IAM' : 'PASSWORD',
  });
}

const login = r => ({user: r.user, password: r.password, database: r.database});

// open opens a connection without a driver.
async function open(r) {
  const socket = (await options(r)).stream();
  await once(socket, r.sqlData && !socket.encrypted ? 'connect' : 'secureConnect');
  const conn = {socket, received: 0, ended: null, wake: () => {}};
  socket.on('data', chunk => { conn.received += chunk.length; conn.text = chunk.toString('latin1'); conn.wake(); });
  socket.on('error', err => { conn.ended ??= err; conn.wake(); });
  socket.on('close', () => { conn.ended ??= new Error('the connection is closed'); conn.wake(); });
  return conn;
}

// read waits for a byte, and returns what came with it.
async function read(conn) {
  while (!conn.received) {
    if (conn.ended) throw conn.ended;
    await new Promise(resolve => { conn.wake = resolve; });
  }
  conn.received = 0;
  return conn.text;
}

async function write(conn, bytes) {
  if (conn.ended) throw conn.ended;
  const block = Buffer.alloc(Math.min(bytes, 64 << 10), '?');
  for (let left = bytes; left > 0; left -= block.length) {
    if (!conn.socket.write(block)) {
      await new Promise(resolve => { conn.socket.once('drain', resolve); conn.wake = resolve; });
      if (conn.ended) throw conn.ended;
    }
  }
}

const drivers = {
  async bare(r) {
    const conn = await open(r);
    try {
      await write(conn, 1);
      return (await read(conn)).trim();
    } finally {
      conn.socket.destroy();
    }
  },
  async pg(r) {
    const client = new pg.Client({...await options(r), ...login(r)});
    // An error of a connection that nobody waits for would end the process.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query('select current_user as name')).rows[0].name;
    } finally {
      await client.end();
    }
  },
  async mysql2(r) {
    const client = await mysql.createConnection({...await options(r), ...login(r)});
    client.on('error', () => {});
    try {
      const [rows] = await client.query("select substring_index(user(), '@', 1) as name");
      return rows[0].name;
    } finally {
      client.destroy();
    }
  },
};

const actions = {
  connect: r => drivers[r.driver](r),
  make(r) { connector(r); },
  close(r) {
    connectors.get(r.connector)?.close();
    connectors.delete(r.connector);
  },
  async dial(r) { conns.set(r.conn, await open(r)); },
  write: r => write(conns.get(r.conn), r.bytes),
  read: r => read(conns.get(r.conn)),
  end(r) {
    conns.get(r.conn).socket.end();
    conns.delete(r.conn);
  },
  async sleep(r) {
    const client = new pg.Client({...await options(r), ...login(r), query_timeout: 1000});
    client.on('error', () => {});
    await client.connect();
    const began = Date.now();
    const why = await client.query('select pg_sleep(6)').then(() => '', err => err.message);
    const took = (Date.now() - began) / 1000;
    client.connection.stream.destroy();
    return `${took} ${why}`;
  },
};

async function answer(r) {
  try {
    return {id: r.id, result: await actions[r.do](r) ?? ''};
  } catch (err) {
    return {id: r.id, error: err.code ? `${err.code}: ${err.message}` : `${err.name}: ${err.message}`};
  }
}

for await (const line of createInterface({input: process.stdin})) {
  answer(JSON.parse(line)).then(a => console.log(JSON.stringify(a)));
}
for (const c of connectors.values()) c.close();
process.exit(0);
