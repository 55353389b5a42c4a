package migrating

import (
	"os"
	"strings"
	"testing"
)

// Keep the function in use: it is there to be compiled.
var _ = fromPython

// pythonProofs are, for rows of the section on Python that claim more than can
// be compiled, the tests that show it.
var pythonProofs = map[string][]string{
	"drivers pg8000, psycopg, asyncpg":                              {"driver/postgres/postgres_test.go TestGoodDataSourceNames", "driver/postgres/postgres_test.go TestConfigureLeavesOneHostAndNoTLS"},
	"driver pymysql":                                                {"driver/mysql/dsn_test.go TestDataSourceNames"},
	"driver pytds":                                                  {"driver/sqlserver/dsn_test.go TestGoodDataSourceNamesLogIn"},
	"Application Default Credentials":                               {"faults/credentials_test.go TestEverySourceOfCredentials", "faults/login_test.go TestNewDialerNeedsNoCredentialsAndNoNetwork"},
	"`Connector()`":                                                 {"faults/login_test.go TestNewDialerNeedsNoCredentialsAndNoNetwork"},
	"`pool.connect()`, `execute`":                                   {"cmd/quickstart/main_test.go TestPrintsWhatREADMEPromises"},
	"`connector.close()`, `with Connector() as connector`":          {"examples/migrating/behaviour_test.go TestConnectionsOutliveTheirDialer"},
	"`Connector(ip_type=\"private\")`":                              {"examples/migrating/behaviour_test.go TestWithoutAnOptionEveryInstanceIsReached"},
	"`connect(..., ip_type=\"private\")`":                           {"driver/sqlserver/dsn_test.go TestTheDataSourceNameChoosesTheAddress"},
	"`enable_iam_auth=True`":                                        {"faults/login_test.go TestOnlyIAMDialsCarryALoginToken", "e2e/login_test.go TestIAMLoginAsTheDefaultOfADialer"},
	"the user of an IAM login, in the engine's form":                {"name_test.go TestFormatIAMUser", "e2e/login_test.go TestIAMLoginNeedsNoUser"},
	"`timeout=30`":                                                  {"faults/network_test.go TestDialEndsByItself"},
	"`refresh_strategy=\"lazy\"`":                                   {"examples/cloudrun/main_test.go TestCallsNobodyBetweenRequests"},
	"SQL Server that enforces TLS: `cafile`, `validate_host=False`": {"driver/sqlserver/tls_test.go TestTLSInsideTDSNeedsNoCAFile"},
	"`active_directory_auth=True` and `server_name`, on Windows":    {"e2e/sqlserver_kerberos_test.go TestKerberosLogins"},
	"`Connector(resolver=DnsResolver)`":                             {"faults/dns_test.go TestAChangedRecordCountsAtTheNextDial"},
	"write endpoints of advanced disaster recovery":                 {"faults/dns_test.go TestInstanceDNSNamesCostOneCallAnHour"},
	"`failover_period=60`":                                          {"faults/failover_test.go TestFailoverClosesTheConnectionsToTheOldInstance"},
	"Flask, FastAPI":                                                {"examples/cloudrun/main_test.go TestCountsVisitsAsItsServiceAccount"},
	"`create_async_connector`, `connect_async`, `loop`":             {"e2e/register_test.go TestContextReachesTheDialOfARegisteredDriver"},
	"`asyncpg.create_pool(connect=getconn)`":                        {"examples/pgxpool/main_test.go TestServesBooksAndFinishesRequestsAtTheEnd"},
	"`quota_project`":                                               {"faults/credentials_options_test.go TestQuotaProject"},
	"`universe_domain`":                                             {"faults/credentials_options_test.go TestUniverse"},
}

func TestEachLineForPythonUsersIsCompiledOrTested(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("python.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, r := range table(t, "From the Python connector") {
		rows[r[0]] = true
		lines := names(r[1])
		for _, line := range lines {
			if !strings.Contains(string(source), line) {
				t.Errorf("%s: %s is not compiled", r[0], line)
			}
		}
		if len(lines) == 0 && len(pythonProofs[r[0]]) == 0 {
			t.Errorf("%s: nothing shows it", r[0])
		}
	}
	for what, tests := range pythonProofs {
		if !rows[what] {
			t.Errorf("no row: %s", what)
		}
		wantTests(t, what, tests)
	}
}
