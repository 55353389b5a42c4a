package bench

import "testing"

func TestASentenceClaimsOnlyWhatItsIntervalShows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ratios map[string]spread
		others []string
		want   string
	}{
		{map[string]spread{peerName: {0.89, 0.87, 0.9}, bareName: {0.99, 0.98, 1}}, []string{peerName, bareName},
			"Our time is 11 % less than Google's and not measurably different from bare."},
		{map[string]spread{peerName: {1.2, 0.9, 1.3}, bareName: {0.8, 0.7, 1.1}}, []string{peerName, bareName},
			"Our time is not measurably different from Google's or bare."},
		{map[string]spread{authProxyName: {0.321, 0.3, 0.35}, floorName: {1.044, 1.02, 1.05}}, []string{authProxyName, floorName},
			"Our time is 0.32 × the Auth Proxy's and 4.4 % more than the floor's."},
		{map[string]spread{bareName: {2.5, 2.4, 2.6}}, []string{bareName}, "Our time is 2.50 × bare."},
	} {
		if got := sentenceOf("Our time", func(other string) spread { return tt.ratios[other] }, tt.others...); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
