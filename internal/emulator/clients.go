package emulator

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/cloudsqlconn/cloudsqlconn"
)

//go:embed clients.txt
var clientsText string

var clientsTemplate = template.Must(template.New("clients").Parse(clientsText))

// client is what clients.txt says how to reach an instance with.
type client struct {
	API, Token, LoginToken string
	Name, Engine           string
	Host                   string // host:port of API
	Control                string // host:port of the control endpoint; empty if it is off, or may be off loopback
	IP                     string // as Google's clients call the address
	Private                bool
	User, Password, DB     string
	IAMUser                string
	Port                   string // of the engine's server
	MySQL                  string // the program that people use, mysql or mariadb
	JDBC                   string
	SQLData                string // where it is, as cloudsqlconn takes it; empty if it does not serve the instance
	SQLDataAddr, SQLDataCA string // as Google's clients take it, with TLS
}

// introduce tells what there is, and what clients need to reach it. What comes
// last stays on a screen: the lines for the Auth Proxy.
func (e *emulator) introduce(out io.Writer) {
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "Admin API    %s\n", e.api.URL())
	if e.page != "" {
		fmt.Fprintf(w, "status page  %s\n", e.page)
	}
	if e.sqlData != nil {
		fmt.Fprintf(w, "SQL Data     %s\n", e.sqlData.Endpoint())
		if e.sqlData.file != "" {
			fmt.Fprintf(w, "its CA       %s\n", e.sqlData.file)
		}
	}
	fmt.Fprintf(w, "token        %s\nlogin token  %s\n", e.api.Token(), e.api.LoginToken())
	for _, p := range e.cfg.Principals {
		fmt.Fprintf(w, "token        %s of %s\n", p.Token, p.Email)
	}
	for i, one := range e.all() {
		fmt.Fprintf(w, "\n%s\n  engine     %s\n  database   %s\n", one.Name(), one.db.version, one.db.about)
		if one.db.user != "" {
			fmt.Fprintf(w, "  login      user %s, password %s, database %s; IAM user %s, database %s\n", one.db.user, one.db.password, one.db.name, one.db.iamUser, one.db.name)
		}
		for _, line := range one.addresses() {
			fmt.Fprintf(w, "  address    %s\n", line)
		}
		if i == 0 && len(e.all()) > 1 {
			fmt.Fprintf(w, "  (What follows is for this instance; %s/clients?instance=NAME has it for others.)\n", e.page)
		}
	}
	fmt.Fprintln(w)
	first := e.all()[0]
	e.tellClients(w, first)
	if e.page == "" {
		fmt.Fprint(w, "\nready\n")
	} else {
		fmt.Fprintf(w, "\nready; curl '%s/clients?instance=%s' prints all these lines again\n", e.page, first.Name())
	}
	_, _ = w.WriteTo(out)
}

// addresses lists where the instance, and what nodes it has, can be reached.
func (i *running) addresses() (lines []string) {
	add := func(whose string, addrs map[cloudsqlconn.IPType]string) {
		for _, t := range slices.Sorted(maps.Keys(addrs)) {
			lines = append(lines, fmt.Sprintf("%s:3307 %s%s", addrs[t], t, whose))
		}
	}
	add("", i.Addrs())
	for _, n := range i.Nodes() {
		add(" of "+n.Name(), n.Addrs())
	}
	return lines
}

// tellClients writes what can be pasted into a program or a shell.
func (e *emulator) tellClients(w io.Writer, i *running) {
	c := client{API: e.api.URL(), Token: e.api.Token(), LoginToken: e.api.LoginToken(), Name: i.Name(), Engine: i.cfg.Engine,
		IP: "PUBLIC", User: i.db.user, Password: i.db.password, DB: i.db.name, IAMUser: i.db.iamUser, MySQL: cmp.Or(i.db.client, "mariadb")}
	if i.Addrs()[cloudsqlconn.PublicIP] == "" {
		c.IP, c.Private = "PRIVATE", true
	}
	if c.User == "" {
		c.User, c.Password, c.DB, c.IAMUser = "USER", "PASSWORD", "DATABASE", "IAM_USER"
	}
	c.Port = engines[c.Engine].port
	c.JDBC = c.jdbcURL()
	if c.Host = strings.TrimPrefix(c.API, "http://"); e.page != "" && !e.cfg.AllowRemote {
		c.Control = strings.TrimPrefix(e.page, "http://")
	}
	if e.sqlData != nil && *i.cfg.SQLData {
		c.SQLData, c.SQLDataAddr, c.SQLDataCA = e.sqlData.Endpoint(), e.sqlData.Addr().String(), e.sqlData.file
	}
	if err := clientsTemplate.Execute(w, c); err != nil {
		e.log.Error("cannot tell clients", "error", err)
	}
}

// jdbcURL is what JDBC's DriverManager takes, with the connector's options.
func (c client) jdbcURL() string {
	options := url.Values{"cloudSqlNamedConnector": {"emulator"}, "ipTypes": {c.IP}}
	factory := "com.google.cloud.sql." + c.Engine + ".SocketFactory"
	if c.Engine == "sqlserver" {
		return "jdbc:sqlserver://localhost;databaseName=" + c.DB + ";user=" + c.User + ";password=" + c.Password + ";encrypt=false" +
			";socketFactoryClass=" + factory + ";socketFactoryConstructorArg=" + c.Name + "?" + options.Encode()
	}
	options.Set("user", c.User)
	options.Set("password", c.Password)
	options.Set("socketFactory", factory)
	scheme := strings.Replace(c.Engine, "postgres", "postgresql", 1)
	return "jdbc:" + scheme + ":///" + c.DB + "?cloudSqlInstance=" + c.Name + "&" + options.Encode()
}
