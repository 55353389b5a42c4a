// Client connects with Google's connectors for JDBC and R2DBC. Each line of the
// standard input is a request, which a thread of its own answers with a line:
// see the type Request in ../peer.go.

import com.google.auth.oauth2.AccessToken;
import com.google.auth.oauth2.GoogleCredentials;
import com.google.cloud.sql.ConnectorConfig;
import com.google.cloud.sql.ConnectorRegistry;
import com.google.cloud.sql.RefreshStrategy;
import com.google.cloud.sql.core.GcpConnectionFactoryProvider;
import com.google.cloud.sql.postgres.SocketFactory;
import com.google.gson.Gson;
import com.google.gson.annotations.SerializedName;
import io.r2dbc.spi.ConnectionFactories;
import io.r2dbc.spi.ConnectionFactory;
import io.r2dbc.spi.ConnectionFactoryOptions;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.InputStreamReader;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.DriverManager;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

public final class Client {
  static final class Request {
    long id;
    String connector;
    @SerializedName("do")
    String action;
    String driver;
    String endpoint;
    String account;
    String instance;
    boolean iam;
    boolean isPrivate;
    boolean lazy;
    String noExpiry;
    String user;
    String password;
    String database;

    String ipTypes() {
      return isPrivate ? "PRIVATE" : "PUBLIC";
    }
  }

  record Answer(long id, String result, String error) {}

  /** By connector, since each has a lock of its own for the options. */
  static final Map<String, ConnectionFactory> r2dbc = new ConcurrentHashMap<>();

  static final Map<String, Boolean> registered = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    Gson gson = new Gson();
    ExecutorService threads =
        Executors.newCachedThreadPool(
            run -> {
              Thread t = new Thread(run);
              t.setDaemon(true);
              return t;
            });
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      Request r = gson.fromJson(line, Request.class);
      threads.submit(
          () -> {
            Answer answer;
            try {
              answer = new Answer(r.id, answer(r), null);
            } catch (Throwable t) {
              answer = new Answer(r.id, null, text(t));
            }
            synchronized (System.out) {
              System.out.println(gson.toJson(answer));
            }
          });
    }
    System.exit(0); // the connectors' threads are not daemons
  }

  static String text(Throwable t) {
    StringJoiner s = new StringJoiner(": ");
    for (; t != null; t = t.getCause()) {
      s.add(t.toString());
    }
    return s.toString();
  }

  static String answer(Request r) throws Exception {
    if (r.action.equals("close")) {
      r2dbc.remove(r.connector);
      if (registered.remove(r.connector) != null) {
        ConnectorRegistry.close(r.connector);
      }
      return "";
    }
    registered.computeIfAbsent(
        r.connector,
        name -> {
          ConnectorRegistry.register(name, config(r));
          return true;
        });
    if (r.action.equals("make")) {
      return "";
    }
    if (r.driver.equals("bare")) {
      return bare(r);
    }
    return r.driver.startsWith("r2dbc-") ? overR2dbc(r) : overJdbc(r);
  }

  static ConnectorConfig config(Request r) {
    ConnectorConfig.Builder b =
        new ConnectorConfig.Builder().withAdminRootUrl(r.endpoint + "/");
    if (r.noExpiry.isEmpty()) {
      b.withGoogleCredentialsPath(r.account);
    } else {
      b.withGoogleCredentials(new NoExpiry(r.noExpiry));
    }
    if (r.lazy) {
      b.withRefreshStrategy(RefreshStrategy.LAZY);
    }
    return b.build();
  }

  /** Credentials of a token that does not say when it expires. */
  static final class NoExpiry extends GoogleCredentials {
    private final String token;

    NoExpiry(String token) {
      this.token = token;
    }

    @Override
    public AccessToken refreshAccessToken() {
      return new AccessToken(token, null);
    }
  }

  /** What the driver for PostgreSQL calls to connect. */
  static String bare(Request r) throws Exception {
    Properties properties = new Properties();
    properties.putAll(properties(r));
    properties.put("cloudSqlInstance", r.instance);
    try (var socket = new SocketFactory(properties).createSocket()) {
      socket.getOutputStream().write('?');
      String line =
          new BufferedReader(
                  new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8))
              .readLine();
      if (line == null) {
        throw new EOFException("the connection has ended");
      }
      return line;
    }
  }

  static Map<String, String> properties(Request r) {
    Map<String, String> properties = new HashMap<>();
    properties.put("cloudSqlNamedConnector", r.connector);
    properties.put("ipTypes", r.ipTypes());
    if (r.iam) {
      properties.put("enableIamAuth", "true");
    }
    return properties;
  }

  static String overJdbc(Request r) throws Exception {
    String url;
    String query;
    Map<String, String> properties = properties(r);
    switch (r.driver) {
      case "jdbc-postgres":
        properties.put("socketFactory", "com.google.cloud.sql.postgres.SocketFactory");
        properties.put("cloudSqlInstance", r.instance);
        url = "jdbc:postgresql:///" + r.database + "?" + encode(properties);
        query = "select current_user";
        break;
      case "jdbc-mysql":
        properties.put("socketFactory", "com.google.cloud.sql.mysql.SocketFactory");
        properties.put("cloudSqlInstance", r.instance);
        url = "jdbc:mysql:///" + r.database + "?" + encode(properties);
        query = "select substring_index(user(), '@', 1)";
        break;
      case "jdbc-sqlserver":
        // The driver's URL cannot have most of these.
        url =
            "jdbc:sqlserver://localhost;databaseName="
                + r.database
                + ";encrypt=false;loginTimeout=90"
                + ";socketFactoryClass=com.google.cloud.sql.sqlserver.SocketFactory"
                + ";socketFactoryConstructorArg="
                + r.instance
                + "?"
                + encode(properties);
        query = "select original_login()";
        break;
      default:
        throw new IllegalArgumentException(r.driver);
    }
    try (var connection = DriverManager.getConnection(url, r.user, r.password);
        var statement = connection.createStatement();
        var rows = statement.executeQuery(query)) {
      rows.next();
      return rows.getString(1);
    }
  }

  static String encode(Map<String, String> properties) {
    StringJoiner s = new StringJoiner("&");
    properties.forEach((k, v) -> s.add(k + "=" + URLEncoder.encode(v, StandardCharsets.UTF_8)));
    return s.toString();
  }

  static String overR2dbc(Request r) {
    ConnectionFactory factory =
        r2dbc.computeIfAbsent(
            r.connector,
            name ->
                ConnectionFactories.get(
                    ConnectionFactoryOptions.builder()
                        .option(ConnectionFactoryOptions.DRIVER, "gcp")
                        .option(ConnectionFactoryOptions.PROTOCOL, "postgresql")
                        .option(ConnectionFactoryOptions.HOST, r.instance)
                        .option(ConnectionFactoryOptions.USER, r.user)
                        .option(ConnectionFactoryOptions.PASSWORD, r.password)
                        .option(ConnectionFactoryOptions.DATABASE, r.database)
                        .option(GcpConnectionFactoryProvider.NAMED_CONNECTOR, name)
                        .option(GcpConnectionFactoryProvider.IP_TYPES, r.ipTypes())
                        .option(GcpConnectionFactoryProvider.ENABLE_IAM_AUTH, r.iam)
                        .build()));
    return Mono.usingWhen(
            Mono.from(factory.create()),
            c ->
                Flux.from(c.createStatement("select current_user").execute())
                    .flatMap(result -> result.map((row, meta) -> row.get(0, String.class)))
                    .next(),
            c -> c.close())
        .block();
  }
}
