#!/usr/bin/env bash
# Google's Cloud SQL connector for Java (JDBC) does not ask for another client
# certificate when the instance refuses the one it has: connections fail until its
# next refresh is due, which can be most of an hour. With TLS 1.3 the refusal
# comes after the handshake, to the driver's first read, of which the connector
# hears nothing. The connectors for Go, Python and Node.js ask at once.
#
# The instance is this repository's emulator with a real PostgreSQL behind it:
# needs go, mvn, a JDK and PostgreSQL, and the emulator's default ports. Half a
# minute.
#
# Seen with postgres-socket-factory 1.28.3, postgresql 42.7.14, OpenJDK 17.0.15:
#   before: connected; Admin API requests: 2
#   20 s after the rotation of the client CA: 0 of 20 connections; Admin API requests: 2
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
emulator=
trap '[[ -z $emulator ]] || kill "$emulator"; wait; rm -rf "$work"' EXIT
go build -o "$work/emulator" ./cmd/cloudsql-emulator
"$work/emulator" -engine postgres -backend auto -token secret >"$work/out" 2>"$work/log" &
emulator=$!
cd "$work"
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>com.google.cloud.sql</groupId><artifactId>postgres-socket-factory</artifactId><version>1.28.3</version></dependency>
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.14</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.17</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies >mvn.log || { cat mvn.log; exit 1; }
until grep -q ^ready out; do kill -0 "$emulator" || { cat log; exit 1; }; sleep 0.3; done
cat >Finding.java <<'JAVA'
import com.google.auth.oauth2.*;
import com.google.cloud.sql.*;
import java.net.URI;
import java.net.http.*;
import java.sql.DriverManager;

public class Finding {
  static final String CONTROL = "http://127.0.0.1:13308";

  static String http(HttpRequest.Builder request, String path) throws Exception {
    return HttpClient.newHttpClient()
        .send(request.uri(URI.create(CONTROL + path)).build(), HttpResponse.BodyHandlers.ofString())
        .body();
  }

  static int requests() throws Exception {
    return http(HttpRequest.newBuilder(), "/requests").split("\"path\"", -1).length - 1;
  }

  static void connect() throws Exception {
    DriverManager.getConnection(
            "jdbc:postgresql:///app?cloudSqlInstance=my-project:europe-west1:my-db"
                + "&socketFactory=com.google.cloud.sql.postgres.SocketFactory"
                + "&cloudSqlNamedConnector=emulator&user=app&password=app")
        .close();
  }

  public static void main(String[] args) throws Exception {
    ConnectorRegistry.register(
        "emulator",
        new ConnectorConfig.Builder()
            .withAdminRootUrl("http://127.0.0.1:13307/")
            .withGoogleCredentials(GoogleCredentials.create(new AccessToken("secret", null)))
            .build());
    connect();
    int before = requests();
    System.out.println("before: connected; Admin API requests: " + before);
    http(
        HttpRequest.newBuilder().POST(HttpRequest.BodyPublishers.noBody()),
        "/instances/my-project:europe-west1:my-db/rotate-client-ca");
    int worked = 0;
    Exception last = null;
    for (int i = 0; i < 20; i++) {
      try {
        connect();
        worked++;
      } catch (Exception e) {
        last = e;
      }
      Thread.sleep(1000);
    }
    int after = requests();
    System.out.printf("20 s after the rotation of the client CA: %d of 20 connections; Admin API requests: %d%n", worked, after);
    System.out.println("the last error: " + last);
    System.exit(before > 0 && worked == 0 && after == before ? 0 : 1);
  }
}
JAVA
java -cp 'target/dependency/*' Finding.java 2>java.log || { echo 'changed, or not seen:'; cat java.log; exit 1; }
