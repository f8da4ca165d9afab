#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What README and docs show is run: configurations are read, opened and explained by
# a real server, SQL makes their databases, commands are given and answered as it
# stands there, and C is compiled, loaded and asked. Links lead somewhere.
#
# In what a page shows, `...` is what may be anything. What cannot be run says so
# and why, in a comment before it: <!-- not run: REASON -->. Others:
#   <!-- beside: ANCHOR -->         the SQL and lines of that section hold, too
#   <!-- cannot serve: REASON -->   no dry run of these lines
#   <!-- stand-ins: WORD WORD -->   these commands only note that they were called
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolDocs;
use ConnPoolTest qw(await build_dir command root_dir);
use ConnPoolUpstream;
use IO::Socket::UNIX;
use PostgresTest;
use Test::More;

my @PAGES = ConnPoolDocs::pages();
my @SHOWN = grep { $_->{file} =~ m{^(?:README|SECURITY|docs/[\w-]+)\.md$} } @PAGES;
my %LANG  = map { $_ => 1 } qw(apache sh sql c);
my $HAS_PG = -e build_dir() . '/mod_connpool_pgsql.so';

# --- surroundings -------------------------------------------------------------

# Where a section shows no SQL, its databases have these tables.
my $SCHEMA = <<'SQL';
CREATE TABLE event(id INTEGER PRIMARY KEY, day TEXT NOT NULL, title TEXT NOT NULL);
INSERT INTO event(day, title) VALUES ('2026-03-03', 'Total lunar eclipse'), ('2026-08-12', 'Total solar eclipse');
SQL

my $upstream = ConnPoolUpstream->start(routes => {
    '/v1/today' => sub { return ['hang'] },
    '/v1/now'   => sub {
        my ($request) = @_;
        my $body = "{\"city\":\"$request->{params}{city}\",\"degrees\":21}\n";
        my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        return ([send => $head . length($body) . "\r\n\r\n$body"], ['keep']);
    },
});
my ($UPSTREAM) = $upstream->url('') =~ m{//([\d.]+:\d+)};

sub server_for {
    my ($section) = @_;
    my $server = ConnPoolTest->new(
        mpm     => 'event',
        modules => [qw(auth_basic dbd socache_shmcb)],
        load    => $HAS_PG ? {connpool_pgsql_module => 'mod_connpool_pgsql.so'} : {},
        status  => $section->{has_status} // 1,
    );
    mkdir $server->dir('modules');
    $server->write_file('etc/notes.token', "abc\n");
    chmod 0600, $server->dir('etc/notes.token');
    my $hash = `openssl passwd -apr1 -salt abcdefgh secret`;
    $server->write_file('etc/notes.htpasswd', "ann:$hash");
    mkdir $server->dir("etc/$_") for qw(conf-available conf-enabled);
    my $socket = $server->dir('run/http.sock');
    $server->{listener} = IO::Socket::UNIX->new(Local => $socket, Listen => 1) // die "$socket: $!";
    chmod 0666, $socket;
    return $server;
}

# Paths and ports of the reader's machine, here.
sub here {
    my ($server, $text) = @_;
    my ($dir, $port) = ($server->dir, $server->port);
    $text =~ s{/var/lib/app\b}{$dir/db}g;
    $text =~ s{/etc/(?:apache2|connpool)\b}{$dir/etc}g;
    $text =~ s{/run/app\b}{$dir/run}g;
    $text =~ s{http://localhost(?=/)}{http://127.0.0.1:$port}g;
    $text =~ s{127\.0\.0\.1:9000\b}{$UPSTREAM}g;
    $text =~ s{host=/run/postgresql dbname=app user=web}{$server->{postgres}->dsn(user => 'web')}ge;
    $text =~ s{(?<=\s)modules/(mod_\w+\.so)}{-e "$dir/modules/$1" ? "$dir/modules/$1" : $server->_libexecdir . "/$1"}ge;
    return $text;
}

# --- one kind of block each ---------------------------------------------------

sub blocks_of {
    my ($section, $lang) = @_;
    return grep { $_->{lang} eq $lang && !$_->{mark}{'not run'} } @{$section->{blocks}};
}

sub make_databases {
    my ($server, $conf, $section, @beside) = @_;
    my @sql = map { $_->{text} } map { blocks_of($_, 'sql') } @beside, $section;
    if ($conf =~ /"postgresql:/) {
        $server->{postgres} = PostgresTest->new;
        $server->{postgres}->start;
        ok(eval { $server->{postgres}->sql(join '', @sql); 1 }, 'the SQL is run by PostgreSQL') or diag($@);
        return;
    }
    my %seen;
    my @names = grep { !$seen{$_}++ } $conf =~ m{sqlite:/var/lib/app/(\w+)\.db}g;
    @names = ('app') if @sql && !@names;
    for my $name (@names) {
        my $path = eval { $server->make_sqlite($name, @sql ? join('', @sql) : $SCHEMA) };
        ok($path, "the SQL makes $name.db") or diag($@);
    }
    return;
}

# Commands that need another machine note that they were called.
sub stand_ins {
    my ($server, @words) = @_;
    for my $word (@words) {
        my $does = $word eq 'install' ? 'for last; do :; done; mkdir -p "$last"' : ':';
        my $file = $server->write_file("bin/$word",
            "#!/bin/sh\necho \"\${0##*/} \$*\" >>'" . $server->dir('called') . "'\n$does\n");
        chmod 0755, $file;
    }
    return;
}

sub run_shell {
    my ($server, $text) = @_;
    local $ENV{PATH} = $server->dir('bin') . ":$ENV{PATH}";
    $server->write_file('block.sh', here($server, $text));
    return command('sh', '-e', '-c', 'cd "$0" && . ./block.sh', $server->dir);
}

sub runs_with_stand_ins {
    my ($server, $block) = @_;
    my @words = split ' ', $block->{mark}{'stand-ins'};
    stand_ins($server, @words);
    my ($exit, $text) = run_shell($server, $block->{text});
    is($exit, 0, "line $block->{line}: the commands succeed") or diag($text);
    my %called = map { /^(\S+)/ ? ($1 => 1) : () } split /\n/, ConnPoolDocs::slurp($server->dir('called'));
    is_deeply([sort keys %called], [sort @words], 'and each stand-in was needed');
    $server->_give_to_server($_) for glob $server->dir('db/*');
    return join '', map { ConnPoolDocs::slurp($_) } glob $server->dir('etc/conf-available/*.conf');
}

sub compiles {
    my ($server, $block) = @_;
    my ($name) = $block->{text} =~ /AP_DECLARE_MODULE\((\w+)\)/;
    my $file = $server->write_file("mod_$name.c", $block->{text});
    my @flags = map { chomp; split ' ' } map { scalar `apxs -q $_` } qw(EXTRA_CPPFLAGS);
    my @dirs  = map { chomp; "-I$_" } map { scalar `apxs -q $_` } qw(INCLUDEDIR APR_INCLUDEDIR APU_INCLUDEDIR);
    my ($exit, $text) = command($ENV{CC} // 'gcc', qw(-std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -D_GNU_SOURCE),
        qw(-fPIC -shared -Wno-missing-field-initializers), @flags, @dirs, '-I' . root_dir() . '/mod_connpool',
        '-o', $server->dir("modules/mod_$name.so"), $file, '-lsqlite3');
    is($exit, 0, "line $block->{line}: mod_$name.c is compiled") or diag($text);
    return;
}

# `$ command` lines and what each answers.
sub session {
    my ($text) = @_;
    my @steps;
    for my $line (split /\n/, $text) {
        if ($line =~ /^\$ (.*)/) {
            push @steps, {command => $1, output => ''};
        }
        elsif (@steps && $steps[-1]{output} eq '' && is_open($steps[-1]{command})) {
            $steps[-1]{command} .= "\n$line";
        }
        elsif (@steps) {
            $steps[-1]{output} .= "$line\n";
        }
    }
    return @steps;
}

# A quote that was begun goes on in the next line.
sub is_open {
    my ($command) = @_;
    my $quotes = () = $command =~ /'/g;
    return $quotes % 2 || $command =~ /\\$/;
}

sub pattern {
    my ($shown) = @_;
    $shown =~ s/\s+\z//;
    my $pattern = join '.*?', map { quotemeta } split /\.\.\./, $shown, -1;
    $pattern =~ s/\\\n(?:\\ )*/\\s*/g;
    return qr/\A\s*$pattern\s*\z/s;
}

sub answers_as_shown {
    my ($server, $block) = @_;
    my @steps = session($block->{text});
    ok(@steps > 0, "line $block->{line}: commands begin with \$") or return;
    for my $step (@steps) {
        my ($command, $output) = map { here($server, $_) } @$step{qw(command output)};
        $command =~ s/^curl /curl -s -S --max-time 60 /;
        my $wanted = pattern($output);
        my $text;
        my $ask = sub {
            $text = (run_shell($server, "$command\n"))[1] =~ s/\r//gr;
            return $text =~ $wanted;
        };
        # What a child finds out once a second may take one.
        my $is_so = $command =~ m{/connpool-(?:health|status)} ? await($ask, 10) : $ask->();
        ok($is_so, "line $block->{line}: $step->{command}")
            or diag("shown:\n$step->{output}\nanswered:\n$text");
    }
    return;
}

# --- all of a section ---------------------------------------------------------

sub is_served {
    my ($server, $section, $conf) = @_;
    my $file = $server->_write_conf('docs.conf', here($server, $conf));
    my %env  = $server->_environment;
    my @argv = ($server->httpd, '-t', '-d', $server->dir, '-f', $file);
    local %ENV = %env;
    my ($exit, $text) = command(@argv);
    like($text, qr/Syntax OK/, 'configtest') or diag($text);
    return if grep { $_->{mark}{'cannot serve'} } @{$section->{blocks}};
    ($exit, $text) = command(@argv, '-D', 'DUMP_CONNPOOL');
    is($exit, 0, 'all of it could serve') or diag(join "\n", grep { /error/ } split /\n/, $text);
    return;
}

sub section_works {
    my ($page, $section) = @_;
    my %beside = map { $_->{mark}{beside} ? ($_->{mark}{beside} => 1) : () } @{$section->{blocks}};
    my @beside = grep { $beside{$_->{anchor}} } @{$page->{sections}};
    my $conf   = join '', map { $_->{text} } map { blocks_of($_, 'apache') } @beside, $section;
    $section->{has_status} = $conf !~ /connpool-status/ && !grep { $_->{text} =~ /^apt install/m } @{$section->{blocks}};
    my $server = server_for($section);
    my @shell  = blocks_of($section, 'sh');
    make_databases($server, $conf, $section, @beside);
    for my $block (grep { $_->{mark}{'stand-ins'} } @shell) {
        $conf .= runs_with_stand_ins($server, $block);
        # The package brings it.
        $conf .= "Include " . root_dir() . "/conf/connpool.conf\n" if $block->{text} =~ /^apt install/m;
    }
    compiles($server, $_) for blocks_of($section, 'c');
    is_served($server, $section, $conf) if $conf ne '';
    if (my @sessions = grep { !$_->{mark}{'stand-ins'} } @shell) {
        $server->conf(here($server, $conf));
        $server->start;
        answers_as_shown($server, $_) for @sessions;
        my @bad = grep { /cannot be prepared/ } split /\n/, $server->log;
        is_deeply(\@bad, [], 'all queries are prepared');
    }
    $server->dismiss;
    $server->{postgres}->stop if $server->{postgres};
    return;
}

my ($count, @not_run) = (0);
for my $page (@SHOWN) {
    for my $section (@{$page->{sections}}) {
        my @blocks = @{$section->{blocks}} or next;
        my $name   = "$page->{file}, $section->{title}";
        for my $block (grep { $_->{mark}{'not run'} } @blocks) {
            push @not_run, "$page->{file}:$block->{line}: $block->{mark}{'not run'}";
        }
        my @run = grep { !$_->{mark}{'not run'} } @blocks or next;
        $count += @run;
        next if $page->{file} =~ /postgresql/ && !$HAS_PG;
        subtest $name => sub {
            is_deeply([map { $_->{lang} || "line $_->{line}" } grep { !$LANG{$_->{lang}} } @run],
                [], 'what to do with each block is known');
            section_works($page, $section);
        };
    }
}
cmp_ok($count, '>=', 25, "$count blocks are run");
note(scalar @not_run, ' are not: ', join "\n", '', @not_run);
cmp_ok(scalar @not_run, '<', $count / 3, @not_run . ' are not, for a reason');

# --- links --------------------------------------------------------------------

my %ANCHORS = map { my $page = $_; ($page->{file} => {map { $_->{anchor} => 1 } @{$page->{sections}}}) } @PAGES;

# What is wrong with an address, or nothing.
sub broken {
    my ($file, $address) = @_;
    if ($address =~ /^\w+:/) {
        return $address =~ m{^https?://[\w.-]+\.\w+(?::\d+)?(?:/[\w./%~#?&=+,:;@!-]*)?$} ? () : 'no URL';
    }
    my ($path, $anchor) = $address =~ /^([^#]*)(?:#(.*))?$/;
    my @parts = $path eq '' ? split(m{/}, $file) : (split(m{/}, $file =~ s{[^/]*$}{}r), split m{/}, $path);
    my @clean;
    for my $part (@parts) {
        $part eq '..' ? pop @clean : push @clean, $part if $part ne '.';
    }
    my $target = join '/', @clean;
    return 'no such file' if !-e root_dir() . "/$target";
    return if !defined $anchor;
    return 'an anchor of no page' if !$ANCHORS{$target};
    return $ANCHORS{$target}{$anchor} ? () : 'no such anchor';
}

subtest 'links lead somewhere' => sub {
    my ($links, @broken) = (0);
    for my $page (@PAGES) {
        for my $link (ConnPoolDocs::links($page)) {
            $links++;
            my ($why) = broken($page->{file}, $link->[1]);
            push @broken, "$page->{file}: [$link->[0]]($link->[1]): $why" if $why;
        }
    }
    cmp_ok($links, '>', 80, "$links links");
    is_deeply(\@broken, [], 'none is broken') or diag(join "\n", @broken);
    my $readme = ConnPoolDocs::slurp(root_dir() . '/README.md');
    my @missing = grep { index($readme, "($_") < 0 } map { $_->{file} } grep { $_->{file} =~ m{^docs/} } @PAGES;
    is_deeply(\@missing, [], 'README leads to every page');
    cmp_ok(($readme =~ tr/\n//), '<=', 150, 'and is one page');
};

$upstream->stop;
done_testing;
