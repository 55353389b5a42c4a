"""Connects with Google's connector. Each line of the standard input is a request,
which a thread of its own answers with a line: see the type Request in
../peer.go."""

import asyncio
import json
import sys
import threading

import google.auth
import google.auth.credentials
import sqlalchemy
from google.cloud.sql.connector import Connector
from google.cloud.sql.connector import DefaultResolver
from google.cloud.sql.connector import DnsResolver
from google.cloud.sql.connector import create_async_connector
from sqlalchemy.ext.asyncio import create_async_engine

QUERIES = {
    "pg8000": "select current_user",
    "psycopg": "select current_user",
    "asyncpg": "select current_user",
    "pymysql": "select substring_index(user(), '@', 1)",
    "pytds": "select original_login()",
}

URLS = {
    "pg8000": "postgresql+pg8000://",
    "psycopg": "postgresql+psycopg://",
    "asyncpg": "postgresql+asyncpg://",
    "pymysql": "mysql+pymysql://",
}


class NoExpiry(google.auth.credentials.Credentials):
    """Credentials of a token that does not say when it expires."""

    def __init__(self, token):
        super().__init__()
        self.given = token

    def refresh(self, request):
        self.token = self.given


def credentials(r):
    if r["noExpiry"]:
        return NoExpiry(r["noExpiry"])
    found, _ = google.auth.load_credentials_from_file(
        r["account"], scopes=["https://www.googleapis.com/auth/sqlservice.admin"]
    )
    return found


def resolver(r):
    if not r["resolver"]:
        return DefaultResolver
    host, port = r["resolver"].rsplit(":", 1)

    class Resolver(DnsResolver):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, configure=False, **kwargs)
            self.nameservers = [host]
            self.port = int(port)

    return Resolver


class Client:
    """A Connector, and how to connect with it to one instance."""

    def __init__(self, r):
        self.driver = r["driver"].removeprefix("sqlalchemy-")
        self.query = QUERIES[self.driver]
        pooled = r["driver"] != self.driver
        options = {
            "credentials": credentials(r),
            "resolver": resolver(r),
            "sqladmin_api_endpoint": r["endpoint"],
            "enable_iam_auth": r["iam"],
            "ip_type": "SQL_DATA" if r["sqlData"] else "PRIVATE" if r["isPrivate"] else "PUBLIC",
            "sql_data_endpoint": r["sqlData"] or None,
            "refresh_strategy": "LAZY" if r["lazy"] else "BACKGROUND",
        }
        self.instance = r["instance"]
        self.login = {"user": r["user"], "password": r["password"], "db": r["database"]}
        if self.driver == "pytds":
            # Its first try gets 8 % of this, and a second one finds the connector's
            # socket closed.
            self.login["login_timeout"] = 120
        if self.driver != "asyncpg":
            self.connector = Connector(**options)
            work = self.with_engine if pooled else self.plain
            self.answer = lambda limit: work()
            if pooled:
                self.engine = sqlalchemy.create_engine(URLS[self.driver], creator=self.connect, poolclass=sqlalchemy.NullPool)
            return
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.connector = self.wait(create_async_connector(**options))
        work = self.with_async_engine if pooled else self.plain_async
        self.answer = lambda limit: self.wait(asyncio.wait_for(work(), limit or None))
        if pooled:
            self.engine = create_async_engine(URLS[self.driver], async_creator=self.connect_async, poolclass=sqlalchemy.NullPool)

    def wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def connect(self):
        return self.connector.connect(self.instance, self.driver, **self.login)

    async def connect_async(self):
        return await self.connector.connect_async(self.instance, self.driver, **self.login)

    def plain(self):
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(self.query)
            return cursor.fetchone()[0]
        finally:
            connection.close()

    async def plain_async(self):
        connection = await self.connect_async()
        try:
            return await connection.fetchval(self.query)
        finally:
            await connection.close()

    def with_engine(self):
        with self.engine.connect() as connection:
            return connection.execute(sqlalchemy.text(self.query)).scalar_one()

    async def with_async_engine(self):
        async with self.engine.connect() as connection:
            return (await connection.execute(sqlalchemy.text(self.query))).scalar_one()


clients = {}
lock = threading.Lock()  # guards clients, and lines of the standard output


def answer(r):
    if r["do"] == "close":
        with lock:
            client = clients.pop(r["connector"], None)
        if client:
            client.connector.close()
        return ""
    with lock:
        if r["connector"] not in clients:
            clients[r["connector"]] = Client(r)
        client = clients[r["connector"]]
    return client.answer(r["limit"]) if r["do"] == "connect" else ""


def serve(line):
    r = json.loads(line)
    reply = {"id": r["id"]}
    try:
        reply["result"] = answer(r)
    except BaseException as e:
        reply["error"] = f"{type(e).__name__}: {e}"
    with lock:
        print(json.dumps(reply), flush=True)


for line in sys.stdin:
    threading.Thread(target=serve, args=(line,), daemon=True).start()
