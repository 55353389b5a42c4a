package migrating

import (
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

// proofs are, for each row of the second table of MIGRATING.md, the tests that
// show it. Those without a folder are here.
var proofs = map[string][]string{
	"the default address":                {"behaviour_test.go TestWithoutAnOptionEveryInstanceIsReached"},
	"`WithAutoIP`":                       {"faults/network_test.go TestAnAddressThatHangsLeavesTimeForTheNext", "faults/network_test.go TestAddressesAreTriedInTheCallersOrder"},
	"credentials":                        {"faults/login_test.go TestNewDialerNeedsNoCredentialsAndNoNetwork", "faults/credentials_test.go TestMissingCredentialsAreTold"},
	"options that contradict each other": {"options_test.go TestNewDialerNamesEverythingThatIsWrong", "faults/credentials_options_test.go TestCredentialsThatContradictEachOther"},
	"names of instances":                 {"name_test.go TestBadNamesShowTheExpectedForm"},
	"a socket in /cloudsql/, as Cloud Run and App Engine have them without a connector": {"name_test.go TestNamesWithSlashesSayWhatToLeaveOut"},
	"how long a Dial takes":                                           {"faults/network_test.go TestDialEndsByItself"},
	"the instance has moved, or has another server CA":                {"faults/network_test.go TestDialFindsAnInstanceThatHasMoved", "faults/identity_test.go TestARotatedServerCAFailsNoDial"},
	"the Admin API answers 5xx, breaks connections, or answers 429":   {"faults/api_test.go TestServerFaultsAreRetried", "faults/api_test.go TestABrokenAPIConnectionIsRetried", "faults/api_test.go TestRetryAfterIsObeyed"},
	"the Admin API refuses: 403, 404":                                 {"faults/api_test.go TestRefusedCallsAreRemembered"},
	"the Admin API is down and the cached certificate is still valid": {"faults/api_test.go TestServesTheOldCertificateWhileTheAPIIsDown"},
	"password and IAM logins on one Dialer":                           {"faults/login_test.go TestPasswordAndIAMDialsDoNotDisturbEachOther"},
	"`WithIAMAuthNTokenSources` without `WithIAMAuthN`":               {"faults/login_test.go TestOnlyIAMDialsCarryALoginToken"},
	"the database user of an IAM login":                               {"e2e/login_test.go TestIAMLoginAsTheDefaultOfADialer", "e2e/login_test.go TestIAMLoginNeedsNoUser"},
	"errors":                                                          {"faults/errors_test.go TestErrorsSayWhatHappenedAndWhatToDo"},
	"proxies":                                                         {"faults/proxy_test.go TestTheProxyOfTheEnvironmentIsUsedWhenAskedFor"},
	"`WithFailoverPeriod(0)`":                                         {"faults/failover_test.go TestANegativeFailoverPeriodMeansOnlyAtDial"},
	"a DNS name that points to another instance":                      {"faults/dns_test.go TestAChangedRecordCountsAtTheNextDial", "faults/failover_test.go TestFailoverClosesTheConnectionsToTheOldInstance"},
	"a DNS name that cannot be looked up":                             {"faults/dns_test.go TestDNSFailuresAreSurvived"},
	"Cloud SQL's own DNS names":                                       {"faults/dns_test.go TestInstanceDNSNamesCostOneCallAnHour"},
	"read pools":                                                      {"faults/readpool_test.go TestDialsSpreadOverTheNodesOfAReadPool", "faults/readpool_test.go TestANodeThatFailsIsLeftOutForAWhile"},
	"Close":                                                           {"faults/close_test.go TestCloseEndsDialsWhereverTheyAre", "behaviour_test.go TestConnectionsOutliveTheirDialer"},
	"connections":                                                     {"faults/close_test.go TestOpenConnectionsCostNoGoroutines", "faults/network_test.go TestAConnectionIsCountedAndClosedOnce"},
	"managed connection pooling with IAM login":                       {"driver/postgres/pooler_test.go TestNobodyIsRefusedByThePooler", "cloudsqltest/pooler_test.go TestThePoolerRefusesALoginWhenTheTokenThatItKeepsHasExpired"},
	"a DNS name that is not in the server's certificate":              {"faults/identity_test.go TestADomainThatIsNotInTheCertificateIsRefused"},
	"verification of the server":                                      {"faults/identity_test.go TestNamesMatchAsTheyShould", "faults/identity_test.go TestConnectionsAreTLS13AndResumed"},
	"a client certificate that is refused":                            {"e2e/refused_test.go TestNobodyNoticesThatTheClientCertificateWasRefused", "e2e/refused_test.go TestNoPgxPoolNoticesThatTheClientCertificateWasRefused"},
	"dead peers":                                                      {"faults/tcp_linux_test.go TestTCPKeepAliveReachesTheSocket"},
	"metrics":                                                         {"faults/telemetry_test.go TestMetricsCountDialsConnectionsAndBytes"},
	"`RegisterDriver` with a name that is taken":                      {"e2e/register_test.go TestTakenDriverNameIsAnError"},
	"the context of a query through database/sql":                     {"e2e/register_test.go TestContextReachesTheDialOfARegisteredDriver"},
	"data source names of PostgreSQL":                                 {"driver/postgres/postgres_test.go TestGoodDataSourceNames", "driver/postgres/settings_test.go TestSettingsOfADirectConnectionStopNobody", "driver/postgres/postgres_test.go TestDataSourceNamesLeaveNothingBehind"},
	"several hosts in a data source name of PostgreSQL":               {"e2e/hosts_test.go TestTargetSessionAttrsChooseTheInstance"},
	"requests to cancel a query of PostgreSQL":                        {"e2e/hosts_test.go TestAQueryOfAReadPoolIsCancelledAtItsNode"},
	"data source names of MySQL":                                      {"driver/mysql/dsn_test.go TestDataSourceNames", "e2e/register_test.go TestTheDriverNamedMySQLConnectsByARegisteredName"},
	"caching_sha2_password of MySQL":                                  {"faults/exchange_test.go TestMySQLInstancesAreToldThatTheClientIsEncrypted", "driver/mysql/metadata_test.go TestLoginsAfterAMetadataExchange", "driver/mysql/metadata_test.go TestABareDialForTheDriverTellsNothing"},
	"encrypt=true for SQL Server":                                     {"driver/sqlserver/tls_test.go TestTLSInsideTDSNeedsNoCAFile"},
}

func TestEachDifferenceIsTested(t *testing.T) {
	t.Parallel()
	rows := map[string]bool{}
	for _, r := range table(t, "What behaves differently") {
		rows[r[0]] = true
		if len(proofs[r[0]]) == 0 {
			t.Errorf("no test for: %s", r[0])
		}
		for _, name := range append(names(r[1]), names(r[2])...) {
			name, _, _ = strings.Cut(name, "(")
			if _, ok := here[name]; !ok && !google(t)[name] {
				t.Errorf("%s: there is no %s", r[0], name)
			}
		}
	}
	for what, tests := range proofs {
		if !rows[what] {
			t.Errorf("no row: %s", what)
		}
		wantTests(t, what, tests)
	}
}

// wantTests checks that there are the tests that prove something.
func wantTests(t *testing.T, what string, tests []string) {
	t.Helper()
	for _, test := range tests {
		file, name, _ := strings.Cut(test, " ")
		if file != "behaviour_test.go" {
			file = "../../" + file
		}
		source, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(source), "func "+name+"(") {
			t.Errorf("%s: there is no test %s (%v)", what, test, err)
		}
	}
}

func TestWithoutAnOptionEveryInstanceIsReached(t *testing.T) {
	t.Parallel()
	for _, addrs := range []map[cloudsqlconn.IPType]string{
		{cloudsqlconn.PublicIP: "203.0.113.7"},
		{cloudsqlconn.PrivateIP: "10.1.2.3"},
		{cloudsqlconn.PSC: "a.b.europe-west1.sql-psc.goog"},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, _ := connect(t, cloudsqltest.Instance{Addrs: addrs})
			conn.Close()
		})
	}
}

func TestConnectionsOutliveTheirDialer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, dialer := connect(t, cloudsqltest.Instance{}) // it echoes
		defer conn.Close()
		dialer.Close()
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		if n, err := conn.Read(make([]byte, 5)); n != 5 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
}

// connect connects to an instance, in a bubble.
func connect(t *testing.T, cfg cloudsqltest.Instance) (net.Conn, *cloudsqlconn.Dialer) {
	t.Helper()
	const name = "my-project:europe-west1:my-db"
	cloud := cloudsqltest.NewMemoryServer()
	t.Cleanup(cloud.Close)
	cloud.AddInstance(name, cfg)
	dialer, err := cloudsqlconn.NewDialer(t.Context(), cloud.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialer.Close() })
	conn, err := dialer.Dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return conn, dialer
}
