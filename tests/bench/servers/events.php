<?php
// SPDX-License-Identifier: Apache-2.0
// Events by key and by range, over a connection that persists.
$database = new PDO('sqlite:' . $_SERVER['BENCH_DATABASE'], null, null, [
    PDO::ATTR_PERSISTENT => true,
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
    PDO::ATTR_STRINGIFY_FETCHES => false,
]);
if (isset($_GET['last'])) {
    $query = $database->prepare('SELECT id, title, day FROM events WHERE id BETWEEN ? AND ?');
    $query->bindValue(2, (int)$_GET['last'], PDO::PARAM_INT);
} else {
    $query = $database->prepare('SELECT id, title, day FROM events WHERE id = ?');
}
$query->bindValue(1, (int)$_GET['first'], PDO::PARAM_INT);
$query->execute();
header('Content-Type: application/json');
echo json_encode($query->fetchAll(PDO::FETCH_ASSOC));
