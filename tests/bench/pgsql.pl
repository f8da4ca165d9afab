#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What a request costs that asks PostgreSQL, in processor time of the httpd child,
# for one row by key and for fifty rows: with pooled connections, through
# PgBouncer, with a connection for each request, with mod_dbd, and in PHP with
# persistent PDO where Debian's libapache2-mod-php and php-pgsql are (or, unpacked,
# below $PHP_ROOT); beside libpq alone (pgbench). Interleaved, medians of the rounds.
# Prints tables in Markdown.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(parallel);
use File::Temp ();
use HTTP::Tiny;
use POSIX ();
use PostgresTest qw(bouncer_program pgsql_module);
use Time::HiRes qw(time);

my $ROUNDS   = $ENV{ROUNDS}   // 7;
my $REQUESTS = $ENV{REQUESTS} // 400;
my $ROWS     = 'SELECT id, title, day FROM events WHERE id';
my %SQL      = (one => ["$ROWS = :first", "$ROWS = %d"], many => ["$ROWS >= :first AND id <= :last", "$ROWS >= %d AND id <= %d"]);
my %PATH     = (one => 'first=7', many => 'first=100&last=149');

my $pg = PostgresTest->new->start;
$pg->sql(q{CREATE TABLE events(id int PRIMARY KEY, title text, day text);
    INSERT INTO events SELECT i, 'event number ' || i, '2026-01-01' FROM generate_series(1, 10000) i;
    ANALYZE events});
my $bouncer = bouncer_program() && $pg->bouncer(settings => "default_pool_size = 4\n");

sub server {
    my ($switch, %databases) = @_;
    my $conf = "ConnPoolDBPool $switch\nDBDriver pgsql\nDBDParams \"@{[$pg->dsn]}\"\nDBDMax 10\n";
    for my $shape (sort keys %SQL) {
        $conf .= "DBDPrepareSQL \"$SQL{$shape}[1]\" $shape\n<Location \"/dbd/$shape\">\n"
            . "SetHandler bench-dbd\nBenchQuery $shape\n</Location>\n";
    }
    for my $name (sort keys %databases) {
        $conf .= "ConnPoolDatabase $name \"postgresql:$databases{$name}\n";
        for my $shape (sort keys %SQL) {
            $conf .= "ConnPoolQuery $name-$shape $name \"$SQL{$shape}[0]\"\n"
                . join('', map { "ConnPoolParam $name-$shape $_ integer required\n" } $SQL{$shape}[0] =~ /:(\w+)/g)
                . "<Location \"/$name/$shape\">\nSetHandler connpool-query\nConnPoolServe $name-$shape\n</Location>\n";
        }
    }
    my $server = ConnPoolTest->new(mpm => 'event', children => 1, threads => 32, status => 0,
        modules => ['dbd'], conf => $conf, env => {MALLOC_PERTURB_ => 0},
        load => {bench_module => 't/mod_bench.so', pgsql_module()});
    return $server->start;
}

my $pooled = server('On', pooled => $pg->dsn . '" max=10',
    $bouncer ? (bouncer => $bouncer->dsn . '" max=10 pooler=transaction') : ());
my $direct = server('Off', direct => $pg->dsn . '" max=10');

# PHP under prefork, as Debian has it: one child keeps one connection.
sub php_server {
    my $root = $ENV{PHP_ROOT} // '';
    my ($module) = glob "$root/usr/lib/apache2/modules/libphp*.so";
    my ($pdo)    = glob "$root/usr/lib/php/*/pdo_pgsql.so";
    if (!$module || !$pdo) {
        print "PHP is not measured: there is no libapache2-mod-php or php-pgsql\n\n";
        return;
    }
    my $dir = File::Temp->newdir;
    chmod 0755, "$dir";
    for my $shape (keys %SQL) {
        my $sql = $SQL{$shape}[1] =~ s/%d/?/gr;
        my $get = join ', ', map { "(int)\$_GET['$_']" } $SQL{$shape}[0] =~ /:(\w+)/g;
        open(my $out, '>', "$dir/$shape.php") || die "$dir: $!\n";
        print {$out} "<?php\n\$db = new PDO('pgsql:host=@{[$pg->dir]};port=@{[$pg->port]};dbname=postgres',"
            . " 'postgres', '', [PDO::ATTR_PERSISTENT => true, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);\n"
            . "\$rows = \$db->prepare('$sql');\n\$rows->execute([$get]);\n"
            . "header('Content-Type: application/json');\necho json_encode(\$rows->fetchAll(PDO::FETCH_ASSOC));\n";
        close $out;
    }
    my $extensions = $pdo =~ s{/[^/]+$}{}r;
    open(my $ini, '>', "$dir/php.ini") || die "$dir: $!\n";
    print {$ini} "extension=$extensions/pdo.so\nextension=$pdo\nzend_extension=$extensions/opcache.so\nopcache.enable=1\n";
    close $ini;
    my $server = ConnPoolTest->new(mpm => 'prefork', children => 1, status => 0, modules => ['mime'],
        load => {php_module => $module}, env => {MALLOC_PERTURB_ => 0},
        conf => "PHPINIDir $dir\n" . join '', map { "AliasMatch ^/php/$_\$ $dir/$_.php\n<Location /php/$_>\n"
            . "SetHandler application/x-httpd-php\nRequire all granted\n</Location>\n" } keys %SQL);
    $server->{php_files} = $dir;
    return $server->start;
}
my $php = php_server();
my @SUBJECTS = (
    ['pooled', 'connpool, pooled', $pooled],
    $bouncer ? ['bouncer', 'connpool, through PgBouncer', $pooled] : (),
    ['direct', 'connpool, a connection per request', $direct],
    ['dbd', 'mod_dbd and apr_dbd_pgsql', $pooled],
    $php ? ['php', 'PHP with persistent PDO (prefork)', $php] : (),
);

# Of a server's children, in microseconds: prefork may have more than one.
sub cpu {
    my ($server) = @_;
    my $ticks = 0;
    for my $pid ($server->children) {
        open(my $in, '<', "/proc/$pid/stat") or next;
        my @field = split ' ', (<$in> =~ s/^.*\) //sr);
        $ticks += $field[11] + $field[12];
    }
    return $ticks * 1e6 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

my %figures;
for my $round (0 .. $ROUNDS) {
    for my $shape (qw(one many)) {
        for my $subject (@SUBJECTS) {
            my ($path, undef, $server) = @$subject;
            my $count  = $path eq 'direct' ? $REQUESTS / 8 : $REQUESTS;
            my $client = HTTP::Tiny->new(keep_alive => 1);
            my ($before, $began) = (cpu($server), time);
            for (1 .. $count) {
                my $answer = $client->get($server->url("/$path/$shape?$PATH{$shape}"));
                die "$path: $answer->{status} $answer->{content}\n" if !$answer->{success};
            }
            next if !$round;    # the first warms up
            push @{$figures{$shape}{$path}{cpu}}, (cpu($server) - $before) / $count;
            push @{$figures{$shape}{$path}{wall}}, (time - $began) * 1e6 / $count;
        }
        my $script = File::Temp->new;
        print {$script} ($SQL{$shape}[1] =~ s/%d/7/r =~ s/>= 7/>= 100/r =~ s/%d/149/r), ";\n";
        close $script;
        my @before = times;
        my $began  = time;
        my ($status, $said) = ConnPoolTest::command((glob '/usr/lib/postgresql/*/bin/pgbench')[-1], qw(-n -M prepared -c 1),
            '-t', $REQUESTS * 5, '-f', "$script", '-h', $pg->dir, '-p', $pg->port, qw(-U postgres postgres));
        die $said if $status;
        my @after = times;
        next if !$round;
        push @{$figures{$shape}{libpq}{cpu}}, ($after[2] + $after[3] - $before[2] - $before[3]) * 1e6 / $REQUESTS / 5;
        push @{$figures{$shape}{libpq}{wall}}, (time - $began) * 1e6 / $REQUESTS / 5;
    }
}

for my $shape (qw(one many)) {
    print $shape eq 'one' ? "One row by key\n\n" : "\nFifty rows\n\n";
    print "| | CPU of the child, us a request | to pooled | wall, us |\n|---|---:|---:|---:|\n";
    my $base = median(@{$figures{$shape}{pooled}{cpu}});
    for my $line ((map { [@$_[0, 1]] } @SUBJECTS), ['libpq', 'libpq alone (pgbench), no httpd']) {
        my ($path, $title) = @$line;
        my $cpu = median(@{$figures{$shape}{$path}{cpu}});
        printf "| %s | %.0f | %.1f | %.0f |\n", $title, $cpu, $cpu / $base, median(@{$figures{$shape}{$path}{wall}});
    }
}

# Idle connections of a pool that many have used at once.
my $many = ConnPoolTest->new(mpm => 'event', children => 1, threads => 64, status => 0, env => {MALLOC_PERTURB_ => 0},
    load => {pgsql_module()}, conf => "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\" max=40 acquire=30s\n"
    . "ConnPoolQuery nap app \"SELECT pg_sleep(1.5)\"\n<Location \"/nap\">\nSetHandler connpool-query\nConnPoolServe nap\n"
    . "</Location>\n<Location \"/none\">\n</Location>\n");
$many->start;
$many->get('/nap');
my ($pid)  = $many->children;
my $before = $many->rss($pid);
parallel(40, sub { $many->get('/nap', timeout => 60)->{status} });
my $opened = $pg->backends('idle');
printf "\nMemory of the child: %.0f KB for each of %d connections\n", ($many->rss($pid) - $before) / 1024 / $opened, $opened;
$_->dismiss for $many, $pooled, $direct, $php ? $php : ();
