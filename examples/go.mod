module github.com/cloudsqlconn/cloudsqlconn/examples

go 1.26.0

require github.com/cloudsqlconn/cloudsqlconn v0.0.0

replace github.com/cloudsqlconn/cloudsqlconn => ../
