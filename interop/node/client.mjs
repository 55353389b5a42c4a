// For each line on the standard input: connects to the instance, asks the
// database who has logged in, and writes {"user": ...} or {"error": ...} as a
// line on the standard output.
import {createInterface} from 'node:readline';
import {Connector} from '@google-cloud/cloud-sql-connector';
import mysql from 'mysql2/promise';
import pg from 'pg';

const config = JSON.parse(process.argv[2]);
const login = {user: config.user, password: config.password, database: config.database};

// Credentials are Application Default Credentials.
const connector = new Connector({
  sqlAdminAPIEndpoint: config.endpoint,
  sqlDataEndpoint: config.sqlData,
  sqlDataStreamTimeout: 2 * 3600 * 1000, // has no effect
});

const drivers = {
  async pg(opts) {
    const client = new pg.Client({...opts, ...login});
    // An error of a connection that nobody waits for would end the process.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query('select current_user as name')).rows[0].name;
    } finally {
      await client.end();
    }
  },
  async mysql2(opts) {
    const client = await mysql.createConnection({...opts, ...login});
    client.on('error', () => {});
    try {
      const [rows] = await client.query("select substring_index(user(), '@', 1) as name");
      return rows[0].name;
    } finally {
      client.destroy();
    }
  },
};

async function answer() {
  try {
    const opts = await connector.getOptions({
      instanceConnectionName: config.instance,
      ipType: config.sqlData ? 'SQL_DATA' : config.private ? 'PRIVATE' : 'PUBLIC',
      authType: config.iam ? 'IAM' : 'PASSWORD',
    });
    return {user: await drivers[config.driver](opts)};
  } catch (err) {
    return {error: `${err.code ?? err.name}: ${err.message}`};
  }
}

for await (const _ of createInterface({input: process.stdin})) {
  console.log(JSON.stringify(await answer()));
}
connector.close();
process.exit(0);
