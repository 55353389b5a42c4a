package bench

import "testing"

func TestClientsOfSQLData(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "") // so that the next line is undone
	k, err := startKit()
	wantNil(t, err)
	defer k.close()
	forget, err := k.trust()
	wantNil(t, err)
	defer forget()
	r := &run{kit: k}
	wantNil(t, r.withStreamClients(func(clients []*streamClient) error {
		for _, c := range clients {
			for _, task := range []SQLDataTransfer{{Up: true, MiB: 1, Size: 1 << 10}, {Up: true, MiB: 1, Size: mib}, {MiB: 1, Size: 1 << 10}} {
				spent, err := c.spent("Transfer", task)
				wantNil(t, err)
				if spent.wall <= 0 || spent.cpu <= 0 || spent.allocs < 1 {
					t.Errorf("%s, %+v: %+v", c.name, task, spent)
				}
			}
			for range 2 {
				_, err := c.spent("PingPong", 10)
				wantNil(t, err)
			}
			var idle SQLDataIdle // of few connections it is less than what the heap varies by
			wantNil(t, c.call("Idle", 300, &idle))
			if idle.Goroutines < 1 || idle.Memory < 1000 {
				t.Errorf("%s: %+v", c.name, idle)
			}
			var grown float64
			wantNil(t, c.call("Unread", 4, &grown))
			if keeps := c.name == peerName; keeps != (grown > 3*mib) {
				t.Errorf("%s has grown by %.0f bytes", c.name, grown)
			}
		}
		return nil
	}))
}
