# SPDX-License-Identifier: Apache-2.0
#
# What every output says of a server's state: JSON, health, page, server-status
# and metrics; and that all of them say the same. Core Perl only.
#
#   my $said = all_say($server, 'degraded', {'pool app' => qr/.../}, qr/^DEGRADED: app$/);
#
# The server needs connpool-health at /health, and "ConnPoolServerStatus Full".
package ConnPoolStates;

use strict;
use warnings;

use ConnPoolTest qw(await);
use Exporter qw(import);
use Test::More;

our @EXPORT_OK = qw(agree all_say ask hold last_error of_json outputs place plain since);

# Sections that serve these names at these paths.
sub place {
    my ($handler, @names) = @_;
    return join '', map {
        "<Location \"/$_\">\nSetHandler connpool-$handler\n"
            . "ConnPoolServe $_\n</Location>\n"
    } @names;
}

# ---------------------------------------------------------------------------
# What each output says: {state, causes => {"kind name" => "state cause"},
# states => {"kind name" => state}} as far as it has that.

sub key {
    return join ' ', @_;
}

sub listed {
    my ($causes) = @_;
    return {map { key(@$_{qw(kind name)}) => "$_->{state}: $_->{cause}" } @$causes};
}

sub of_json {
    my ($server) = @_;
    my $report = $server->status_json;
    my %states;
    for my $kind (qw(pool query upstream)) {
        my $list = $kind eq 'query' ? 'queries' : "${kind}s";
        for my $line (@{$report->{$list}}) {
            $states{key($kind, $line->{name})} = $line->{state};
            my $is_well = $line->{state} eq 'ok';
            die "$line->{name}: $line->{state}, but " . ($line->{cause} // 'no cause')
                if $is_well != !defined $line->{cause};
            die "since $line->{since}" if $line->{since} !~ /^\d{4}-\d\d-\d\dT[\d:]{8}Z$/;
        }
    }
    return {state => $report->{state}, causes => listed($report->{causes}), states => \%states,
        raw => $report};
}

sub of_health {
    my ($server) = @_;
    my $answer = $server->get('/health');
    my $report = ConnPoolTest::decode($answer);
    my $code   = $report->{status} eq 'down' ? 503 : 200;
    die "health: $report->{status} with $answer->{status}" if $answer->{status} != $code;
    my %states = map { key('pool', $_->{name}) => $_->{status} }
        map { @{$report->{$_}{pools}} } qw(http_pool db_pool);
    return {state => $report->{status}, causes => listed($report->{causes}), states => \%states};
}

sub of_metrics {
    my ($server) = @_;
    my $text = $server->get('/connpool-status?format=openmetrics')->{content};
    my (%states, %seen);
    while ($text =~ /^connpool_state\{kind="(\w+)",name="([^"]*)",state="(\w+)"\} ([01])$/mg) {
        $seen{key($1, $2)}{$3} = $4;
        $states{key($1, $2)} = $3 if $4;
    }
    for my $name (keys %seen) {
        my $ones = grep { $_ } values %{$seen{$name}};
        die "$name is in $ones states at once" if $ones != 1 || keys %{$seen{$name}} != 3;
    }
    return {states => \%states};
}

# The text of HTML.
sub plain {
    my ($html) = @_;
    my %entity = (lt => '<', gt => '>', amp => '&', quot => '"');
    $html =~ s/<[^>]*>//g;
    $html =~ s/&(\w+);/$entity{$1}/g;
    return $html;
}

sub of_page {
    my ($server) = @_;
    my $html = $server->get('/connpool-status?refresh=0')->{content};
    my ($title)   = $html =~ m{<title>(.*?)</title>};
    my ($class, $h1) = $html =~ m{<body>\n<main>\n<h1 class="verdict is-(\w+)"[^>]*>(.*?)</h1>};
    my (%states, %causes);
    while ($html =~ m{<h2[^>]*>(\w[^<]*)</h2>\n<div class="card"[^>]*><table>(.*?)</table>}gs) {
        my ($table, $rows) = ($1, $2);
        while ($rows =~ m{<th scope="row"><bdi>(.*?)</bdi>(?:<small>(.*?)</small>)?</th>(.*?)</tr>}gs) {
            my ($name, $note, $cells) = ($1, $2 // '', $3);
            my ($state) = $cells =~ m{data-label="State"><span class="\w+">(\w+)<} or next;
            my ($cause) = $cells =~ m{data-label="Cause">(.*?)</td>};
            my %kinds = (Pools => 'pool', Queries => 'query', Upstreams => 'upstream');
            if ($table eq 'What is wrong') {
                my $kind = $note || ($name eq 'event loop' ? 'event_loop' : $name);
                $name = 'event_loop' if $name eq 'event loop';
                $causes{key($kind, $name)} = "$state: " . plain($cause);
            }
            elsif ($kinds{$table}) {
                $states{key($kinds{$table}, $name)} = $state;
            }
        }
    }
    return {state => $class, title => plain($title), h1 => plain($h1), causes => \%causes,
        states => \%states};
}

sub of_server_status {
    my ($server) = @_;
    my $auto = $server->get('/server-status?auto')->{content};
    my ($state) = $auto =~ /^ConnPoolState: (\w+)$/m;
    my (%states, @causes);
    for my $case (['ConnPool', 'pool'], ['ConnPoolQuery', 'query'], ['ConnPoolUpstream', 'upstream']) {
        my ($prefix, $kind) = @$case;
        my %names = $auto =~ /^$prefix\[(\d+)\]Name: (.*)$/mg;
        my %words = $auto =~ /^$prefix\[(\d+)\]State: (.*)$/mg;
        $states{key($kind, $names{$_})} = $words{$_} for keys %names;
    }
    while ($auto =~ /^ConnPoolCause\[(\d+)\](\w+): (.*)$/mg) {
        $causes[$1]{lc $2} = $3;
    }
    my $html = $server->get('/server-status')->{content};
    my ($verdict) = $html =~ m{<p>mod_connpool: <strong>(.*?)</strong>};
    return {state => $state, causes => listed(\@causes), states => \%states,
        verdict => plain($verdict // '')};
}

# Numbers in causes go on while the outputs are read one after the other.
sub words {
    my ($causes) = @_;
    return {map { my $text = $causes->{$_}; $text =~ s/\d[\d.]*/N/g; ($_ => $text) } keys %$causes};
}

sub differences {
    my ($a, $b, $what) = @_;
    my %all = (%$a, %$b);
    return map { "$what: $_ is " . ($a->{$_} // 'missing') . ' and ' . ($b->{$_} // 'missing') }
        grep { ($a->{$_} // '') ne ($b->{$_} // '') } sort keys %all;
}

# (what all say, how they differ)
sub outputs {
    my ($server) = @_;
    my %said = (
        health          => of_health($server),
        page            => of_page($server),
        'server-status' => of_server_status($server),
        metrics         => of_metrics($server),
    );
    my $json = of_json($server);
    my @wrong;
    for my $output (sort keys %said) {
        my $said = $said{$output};
        push @wrong, "$output: state $said->{state}, not $json->{state}"
            if $said->{state} && $said->{state} ne $json->{state};
        my %known = map { $_ => $said->{states}{$_} }
            grep { exists $json->{states}{$_} } keys %{$said->{states}};
        my %wanted = map { $_ => $json->{states}{$_} }
            grep { $output ne 'health' || /^pool / } keys %{$json->{states}};
        push @wrong, differences(\%known, \%wanted, $output);
        next if !$said->{causes};
        my $causes = words($json->{causes});
        if ($output eq 'page') {
            # A pool that is as its upstream is has no line of its own.
            delete $causes->{"pool $_"}
                for map { /^upstream (.*)/ && !$said->{causes}{"pool $1"} ? $1 : () } keys %$causes;
        }
        push @wrong, differences(words($said->{causes}), $causes, "causes of $output");
    }
    # What has no line in the JSON is among the causes, or well.
    for my $name (grep { !/^(?:pool|query|upstream) / } keys %{$said{metrics}{states}}) {
        my ($state) = ($json->{causes}{$name} // 'ok') =~ /^(\w+)/;
        push @wrong, "metrics: $name is $said{metrics}{states}{$name}, not $state"
            if $said{metrics}{states}{$name} ne $state;
    }
    my $page = $said{page};
    push @wrong, "title $page->{title}, heading $page->{h1}" if $page->{title} ne $page->{h1};
    push @wrong, "server-status: $said{'server-status'}{verdict}, page: $page->{title}"
        if $said{'server-status'}{verdict} ne $page->{title};
    return ({%$json, title => $page->{title}}, @wrong);
}

# All agree; returns what they say.
sub agree {
    my ($server) = @_;
    my ($said, @wrong);
    await(sub { ($said, @wrong) = outputs($server); return !@wrong }, 5);
    is_deeply(\@wrong, [], 'all outputs say the same');
    return $said;
}

# ...and it is this: causes by name, as patterns, and the title.
sub all_say {
    my ($server, $state, $causes, $title) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $said;
    my $is_so = await(
        sub {
            $said = of_json($server);
            return $said->{state} eq $state
                && join('|', sort keys %{$said->{causes}}) eq join('|', sort keys %$causes);
        },
        30
    );
    ok($is_so, "state $state, causes: " . (join(', ', sort keys %$causes) || 'none'))
        or diag(explain([@$said{qw(state causes)}]));
    $said = agree($server);
    like($said->{causes}{$_}, $causes->{$_}, "cause of $_") for sort keys %$causes;
    like($said->{title}, $title, "title: $said->{title}");
    unlike($said->{causes}{$_}, qr{SELECT|/|\.db|127\.}, "no path, SQL or address in $_")
        for sort keys %$causes;
    return $said;
}

# What the page says was its last error.
sub last_error {
    my ($server, $name) = @_;
    my ($wrong) = $server->get('/connpool-status?refresh=0')->{content} =~ m{<section id="wrong">(.*?)</section>}s;
    my ($error) = ($wrong // '') =~ m{<bdi>\Q$name\E</bdi>.*?data-label="Last error">(.*?)</td>}s;
    return plain($error // '');
}

sub since {
    my ($server, $kind, $name) = @_;
    my ($cause) = grep { $_->{kind} eq $kind && $_->{name} eq $name }
        @{$server->status_json->{causes}};
    return $cause ? $cause->{since} : '';
}

# A client that is left waiting for its answer.
sub ask {
    my ($server, $path) = @_;
    my $client = $server->connect or die 'no connection';
    print {$client} "GET $path HTTP/1.0\r\n\r\n";
    return $client;
}

# A connection of the pool is held until run/enough is there.
sub hold {
    my ($server, $pool) = @_;
    return ask($server,
        "/do/hold?acquire=a:$pool:read&await=" . $server->dir('run/enough'));
}

1;
