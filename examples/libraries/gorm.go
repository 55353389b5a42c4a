package libraries

import (
	"context"
	"database/sql"

	gormmysql "gorm.io/driver/mysql"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Book is a row of the table that GORM makes of it.
type Book struct {
	ID    int64
	Title string
}

// gormWith works with GORM on a pool that is there.
func gormWith(ctx context.Context, pool *sql.DB) (string, error) {
	return useGORM(ctx, gormpostgres.New(gormpostgres.Config{Conn: pool}))
}

// gormMySQL works with GORM's dialector of MySQL as it is, which opens the driver
// named mysql: the network in dsn is a name given to mysql.RegisterDriver.
func gormMySQL(ctx context.Context, dsn string) (string, error) {
	return useGORM(ctx, gormmysql.Open(dsn))
}

func useGORM(ctx context.Context, dialector gorm.Dialector) (string, error) {
	db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return "", err
	}
	pool, err := db.DB()
	if err != nil {
		return "", err
	}
	defer pool.Close()
	db = db.WithContext(ctx)
	if err := db.AutoMigrate(&Book{}); err != nil {
		return "", err
	}
	if err := db.Create(&Book{Title: "Book One"}).Error; err != nil {
		return "", err
	}
	var b Book
	err = db.Where("title = ?", "Book One").First(&b).Error
	return b.Title, err
}
