#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# docs/directives.md beside the module as it was built: what is a directive, how it
# is written, where, its defaults, its variables in the environment, and all keys.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(build_dir command root_dir);
use JSON::PP ();
use Test::More;

my $PAGE     = 'docs/directives.md';
my $HAS_PG   = -e build_dir() . '/mod_connpool_pgsql.so';
my @LOAD     = $HAS_PG ? (load => {connpool_pgsql_module => 'mod_connpool_pgsql.so'}) : ();
my $server   = ConnPoolTest->new(status => 0, mpm => 'event', modules => ['socache_shmcb'], @LOAD);
my %VARIABLE = (
    ENABLE_CONNECTION_POOLING => 'false',
    ENABLE_SHARED_EVENT_LOOP  => 'false',
    HTTP_POOL_SIZE            => 7,
    HTTP_PER_HOST             => 6,
    DB_POOL_SIZE              => 5,
);

$server->make_sqlite('app', 'CREATE TABLE t(a)');

# --- the page -----------------------------------------------------------------

sub slurp {
    my ($path) = @_;
    open(my $in, '<:raw', $path) or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

# Rows of tables of keys: {key => its default, without backticks}.
sub rows {
    my ($text) = @_;
    return {$text =~ /^\| `([a-z0-9_-]+)=` \| ([^|]*?) \|/mg};
}

# The head of a section: "Syntax: ... · Default: ... · Context: ...".
sub section {
    my ($text) = @_;
    my ($head) = $text =~ /\A\s*(.*?)\n\n/s;
    $head = ($head // '') =~ s/\n/ /gr;
    my %part;
    for (split /\s*\xc2\xb7\s*/, $head) {
        my ($what, $value) = /^(Syntax|Default|Environment|Context): (.*)$/ or next;
        $part{lc $what} = $value;
    }
    my ($common, @drivers) = split /^### Keys of (\w+)\n/m, $text;
    my %of;
    while (my ($kind, $rows) = splice @drivers, 0, 2) {
        $of{$kind} = rows($rows);
    }
    return {%part, keys => rows($common), of => \%of};
}

my (%page, @twice);
{
    my (undef, @parts) = split /^## (\S.*)\n/m, slurp(root_dir() . "/$PAGE");
    while (my ($name, $text) = splice @parts, 0, 2) {
        push @twice, $name if $page{$name};
        $page{$name} = section($text);
    }
}

# --- the module ---------------------------------------------------------------

# What httpd says to this configuration.
sub httpd {
    my ($conf, %arg) = @_;
    my $file = $server->_write_conf('manual.conf', $conf);
    my %env  = ($server->_environment, %{$arg{env} // {}});
    local %ENV = %env;
    my ($exit, $text) =
        command($server->httpd, '-d', $server->dir, '-f', $file, @{$arg{words} // ['-t']});
    return $text;
}

my %built;
{
    my $list = httpd('', words => ['-L']);
    while ($list =~ /^(ConnPool\w+) \(mod_connpool\.c\)\n\t(.*)\n\t(.*)\n/mg) {
        $built{$1} = {usage => $2, allowed => $3};
    }
}

my %CONF = (
    sqlite     => "ConnPoolDatabase app sqlite:\@DIR\@/db/app.db\n",
    postgresql => "ConnPoolDatabase pg \"postgresql:host=/nowhere dbname=x\"\n",
    upstream   => "ConnPoolUpstream up http://127.0.0.1:9/\n",
    query      => "ConnPoolQuery q app \"SELECT a FROM t WHERE a = :x\"\n",
    param      => "ConnPoolParam q x\n",
);
my @KINDS = ('sqlite', $HAS_PG ? 'postgresql' : (), qw(upstream query param));

sub dump_of {
    my (%env) = @_;
    my $text = httpd(join('', @CONF{@KINDS}),
        env => \%env, words => ['-t', '-D', 'DUMP_CONNPOOL_JSON']);
    my ($json) = $text =~ /^(\{"version".*\})\s*$/ms or die $text;
    return JSON::PP->new->utf8->decode($json);
}

# The keys that a line may have, as its complaint about another one names them.
sub keys_of {
    my ($before, $line) = @_;
    my $text = httpd("$before$line nosuchkey=1\n");
    my ($list) = $text =~ /unknown key 'nosuchkey'; allowed are (.*)/;
    return $list ? [sort split /, /, $list] : [$text];
}

# --- both ways ----------------------------------------------------------------

cmp_ok(scalar keys %built, '>=', 30, 'httpd -L lists ' . keys(%built) . ' directives');
is_deeply(\@twice, [], 'no section is there twice');
is_deeply([sort keys %page], [sort keys %built], "$PAGE has a section for each, and no other");

subtest 'syntax, as httpd -L says it' => sub {
    for my $name (sort keys %built) {
        my ($usage) = $built{$name}{usage} =~ /^(.*?): /;
        is($page{$name}{syntax}, '`' . "$name " . ($usage // '?') . '`', $name);
    }
};

# A line that is right wherever it may stand.
my %SAMPLE = (
    ConnPoolDatabase       => 'other sqlite:/nowhere.db',
    ConnPoolUpstream       => 'other http://127.0.0.1:9/',
    ConnPoolQuery          => 'other app "SELECT 1 AS n"',
    ConnPoolParam          => 'p x',
    ConnPoolDescription    => '* "Text."',
    ConnPoolServe          => 'q',
    ConnPoolOrigins        => 'same',
    ConnPoolTrustedProxies => '127.0.0.1',
);
my %SECTION = (
    'server'       => '%s',
    'virtual host' => "<VirtualHost 127.0.0.1:\@PORT\@>\nServerName x\n%s</VirtualHost>\n",
    'directory'    => "<Location /x>\n%s</Location>\n",
);

sub default_of {
    my ($name) = @_;
    my ($default) = ($page{$name}{default} // '') =~ /^`([^`]+)`/;
    return $default;
}

subtest 'context: where a line of it is accepted' => sub {
    my $before = join '', @CONF{qw(sqlite upstream query param)};
    for my $name (sort keys %built) {
        my @accepted;
        my $line = "$name " . ($SAMPLE{$name} // default_of($name) // '?') . "\n";
        for my $where ('server', 'virtual host', 'directory') {
            my $own = $name eq 'ConnPoolParam' && $where ne 'directory'
                ? "ConnPoolQuery p app \"SELECT :x AS n\"\n" : '';
            my $text = httpd($before . sprintf $SECTION{$where}, "$own$line");
            push @accepted, $where if $text =~ /Syntax OK/;
        }
        is(join(', ', @accepted), $page{$name}{context}, $name);
    }
};

my $dump = dump_of();
my $main = $dump->{servers}[0]{settings};

# Numbers that are equal: 600s and 10min, "none" and nothing.
sub same_value {
    my ($told, $fact) = @_;
    my ($text, $value, $unit) = @$fact{qw(text value unit)};
    return 1 if lc $told eq lc $text;
    return $told eq 'none' if !defined $value;
    my %ms = (ms => 1, s => 1000, min => 60_000, h => 3_600_000);
    my ($number, $of) = $told =~ /^(\d+)(ms|s|min|h)?$/ or return 0;
    return ($unit // '') eq 'ms' && $number * $ms{$of // 's'} == $value;
}

subtest 'defaults, as the dry run says them' => sub {
    for my $name (sort keys %$main) {
        my $told = default_of($name) // '?';
        ok(same_value($told, $main->{$name}), "$name: $told")
            or diag("it is $main->{$name}{text}");
    }
};

subtest 'variables of the environment' => sub {
    my $with = dump_of(%VARIABLE)->{servers}[0]{settings};
    my %obeyed;
    for my $name (sort keys %built) {
        my ($variable) = map { s/^environment variable //r }
            grep { /^environment variable/ } $with->{$name} ? origin($with->{$name}) : ();
        my ($told) = ($page{$name}{environment} // '') =~ /^`(\w+)`$/;
        is($told, $variable, $name . ($told ? ": $told" : ': none'));
        $obeyed{$told} = 1 if $told;
    }
    is_deeply([sort keys %obeyed], [sort keys %VARIABLE], 'all five');
};

sub origin {
    my ($fact) = @_;
    return join ' ', grep { defined } $fact->{from} eq 'environment' ? 'environment variable' : $fact->{from},
        $fact->{variable} // $fact->{by};
}

# The keys of a table, and of each what holds when nobody writes it.
sub agree {
    my ($what, $told, $allowed, $facts) = @_;
    is_deeply([sort keys %$told], $allowed, "$what: the keys") or return;
    for my $key (@$allowed) {
        my $fact    = $facts->{$key};
        my $default = $told->{$key} =~ s/`//gr;
        if (!$fact) {
            is($default, 'none', "$what: $key= is unset");
        }
        elsif ($fact->{by}) {
            # What perhost= bounds says so.
            my $by = $what eq 'upstream' && $key eq 'max' ? 'ConnPoolHTTPMax' : $fact->{by};
            $default =~ s/^the database's timeout=$/timeout= of its database/;
            is($default, $by, "$what: $key= comes from $by");
        }
        elsif ($default =~ /^the system's$/) {
            ok(!defined $fact->{value}, "$what: $key= is the system's");
        }
        else {
            my $value = $key eq 'methods' && !defined $fact->{value} ? {text => 'GET'} : $fact;
            ok(same_value($default, $value), "$what: $key=$default")
                or diag("it is $fact->{text}");
        }
    }
    return;
}

subtest 'keys of databases' => sub {
    my $common = $page{ConnPoolDatabase}{keys};
    my $own    = $page{ConnPoolDatabase}{of};
    my %line   = (SQLite => $CONF{sqlite}, PostgreSQL => $CONF{postgresql});
    is_deeply([sort keys %$own], [sort keys %line], 'a table for each kind');
    for my $kind (sort keys %line) {
        next if $kind eq 'PostgreSQL' && !$HAS_PG;
        chomp(my $line = $line{$kind});
        my ($facts) = map { $_->{settings} }
            grep { $_->{name} eq ($kind eq 'SQLite' ? 'app' : 'pg') } @{$dump->{databases}};
        agree(lc $kind, {%$common, %{$own->{$kind}}}, keys_of('', $line), $facts);
        is_deeply([grep { $own->{$kind}{$_} } sort keys %$common], [], "$kind: none stands twice");
    }
};

subtest 'keys of all others' => sub {
    chomp(my %line = %CONF);
    my $before = $CONF{sqlite};
    my $query  = $dump->{queries}[0];
    agree('upstream', $page{ConnPoolUpstream}{keys}, keys_of('', $line{upstream}),
        $dump->{upstreams}[0]{settings});
    agree('query', $page{ConnPoolQuery}{keys}, keys_of($before, $line{query}), $query->{settings});
    agree('parameter', $page{ConnPoolParam}{keys}, keys_of("$before$CONF{query}", $line{param}),
        $query->{params}[0]{settings});
    agree('description', $page{ConnPoolDescription}{keys},
        keys_of($before . $CONF{query}, 'ConnPoolDescription q "Text." title=x'), {});
    is_deeply([grep { keys %{$page{$_}{keys}} } sort keys %page],
        [map { "ConnPool$_" } qw(Database Description Param Query Upstream)], 'no other has keys');
};

# What other pages call a key is one, of some line.
subtest 'all keys that the manual speaks of' => sub {
    my %known = map { $_ => 1 } map { keys %$_ }
        map { ($_->{keys}, values %{$_->{of} // {}}) } values %page;
    # Beside them, what Cache-Control, media types, httpd's log lines, SQLite and
    # libpq call so.
    $known{$_} = 1 for qw(burst charset host max-age password s-maxage stale-while-revalidate
        target_session_attrs trusted_schema sslmode dbname user);
    $known{walk} = 1;    # of ConnPoolServe, which has no table of keys
    my @files = (root_dir() . '/README.md', glob root_dir() . '/docs/*.md');
    my (@unknown, $count);
    for my $file (grep { !/monitoring-situations/ } @files) {
        my $text = slurp($file) =~ s/^```.*?^```//msgr;
        for my $word ($text =~ /`([a-z0-9_-]+)=[^`\s?&]*`/g) {
            $count++;
            push @unknown, "$file: $word=" if !$known{$word};
        }
    }
    cmp_ok($count, '>', 100, "$count are named");
    is_deeply(\@unknown, [], 'and each is a key');
};

# What people copy: conf/connpool.conf names all keys, and its examples are right
# when they are switched on, all at once.
subtest 'the configuration that is shipped' => sub {
    my $conf = slurp(root_dir() . '/conf/connpool.conf');
    my %seen;
    my @missing = grep { !$seen{$_}++ && $conf !~ /(?<![\w-])\Q$_\E=/ }
        map { sort keys %$_ } map { ($_->{keys}, values %{$_->{of}}) } map { $page{$_} } sort keys %page;
    is_deeply(\@missing, [], 'names all keys');
    my $on = join "\n", map { s/^#(?= *(?:ConnPool|SetHandler|<|LogFormat))//r }
        grep { !/redis:|postgresql:/ } split /\n/, $conf;
    my $count = () = $on =~ /^\s*ConnPool/mg;
    cmp_ok($count, '>', 40, "$count lines, switched on");
    my $text = httpd($on);
    like($text, qr/Syntax OK/, 'are right') or diag($text);
};

$server->dismiss;
done_testing;
