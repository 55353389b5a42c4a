package pgsqlite
import ("testing";"net";"os")
func TestServePsql(t *testing.T){ if os.Getenv("PSQL")=="" {t.Skip()}; e,_:=New(); l,err:=net.Listen("tcp","127.0.0.1:5544"); if err!=nil{t.Fatal(err)}; for { c,err:=l.Accept(); if err!=nil{return}; go e.ServeConn(c)} }
