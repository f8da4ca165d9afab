# SPDX-License-Identifier: Apache-2.0
#
# A certificate authority of one's own, made while the test runs.
#
#   my $tls = ConnPoolTLS->new($server->dir('tls'));
#   my ($cert, $key) = $tls->issue('good', 'DNS:localhost,IP:127.0.0.1');
#   ConnPoolTest->new(plain => 1, modules => ['ssl'], conf => ...)
package ConnPoolTLS;

use strict;
use warnings;

use ConnPoolTest qw(command);
use File::Path   ();

# Make the authority in this directory.
sub new {
    my ($class, $dir) = @_;
    File::Path::make_path($dir);
    my $self = bless {dir => $dir, serial => 1}, $class;
    $self->_openssl(
        qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes
            -subj), '/CN=Test authority', '-days', '2',
        '-addext', 'keyUsage=critical,keyCertSign',
        '-keyout', "$dir/ca.key", '-out', "$dir/ca.pem"
    );
    return $self;
}

# The authority's certificate file.
sub ca {
    return "$_[0]{dir}/ca.pem";
}

# Newer versions refuse a number of days that is negative, older ones cannot be
# told the days themselves.
sub _validity {
    my ($days) = @_;
    return ('-days', $days) if $days >= 0 || `openssl x509 -help 2>&1` !~ /-not_after/;
    return ('-not_before', '20200101000000Z', '-not_after', '20200201000000Z');
}

# Issue a certificate for these subjectAltNames; (certificate, key) files.
# Option days: its validity; negative makes one that has expired.
sub issue {
    my ($self, $name, $names, %option) = @_;
    my $base = "$self->{dir}/$name";
    my $days = $option{days} // 2;
    $self->_openssl(
        qw(req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj),
        "/CN=$name", '-keyout', "$base.key", '-out', "$base.csr"
    );
    open(my $out, '>', "$base.ext") or die "$base.ext: $!";
    print {$out} "subjectAltName=$names\nbasicConstraints=CA:FALSE\n";
    close $out;
    $self->_openssl(
        qw(x509 -req -in), "$base.csr", '-CA', $self->ca, '-CAkey',
        "$self->{dir}/ca.key", '-set_serial', $self->{serial}++, '-extfile',
        "$base.ext", '-out', "$base.pem", _validity($days)
    );
    # A client's key is read by children that run as another user.
    chmod 0644, "$base.key";
    return ("$base.pem", "$base.key");
}

# Lines that make a virtual host of a ConnPoolTest (modules => ['ssl']) speak
# TLS.
sub conf {
    my ($self, $cert, $key) = @_;
    return "SSLEngine on\nSSLCertificateFile \"$cert\"\n"
        . "SSLCertificateKeyFile \"$key\"\n";
}

sub _openssl {
    my ($self, @argv) = @_;
    my ($exit, $text) = command('openssl', @argv);
    die "openssl @argv: $text" if $exit != 0;
    return;
}

1;
