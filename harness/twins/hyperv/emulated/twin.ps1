# How a cmdlet of the twin asks the twin: one line of JSON each way, by the Unix socket that the environment names.

$script:line = $null

function ConvertTo-Wire($value) {
    if ($null -eq $value) { return $null }
    if ($value -is [psobject]) { $value = $value.PSObject.BaseObject }
    if ($value -is [TwinObject]) {
        return @{ t = $value.Kind; k = $value.Twin; p = $(if ($value.Twin -notlike '*/*' -or $value.Kind -like 'VMSwitch') { Get-Plain $value } else { @{} }) }
    }
    if ($value -is [switch]) { return [bool]$value }
    if ($value -is [string] -or $value -is [bool]) { return $value }
    if ($value -is [byte[]]) { return @{ b = [Convert]::ToBase64String($value) } }
    if ($value -is [datetime]) { return $value.ToUniversalTime().ToString('o') }
    if ($value -is [timespan]) { return $value.TotalSeconds }
    if ($value -is [Collections.IDictionary]) {
        $pairs = [Collections.Generic.List[object]]::new()
        foreach ($key in $value.Keys) { $pairs.Add([object[]]@("$key", (ConvertTo-Wire $value[$key]))) }
        return @{ m = $pairs.ToArray() }
    }
    if ($value -is [Collections.IEnumerable]) {
        $list = [Collections.Generic.List[object]]::new()
        foreach ($item in $value) { $list.Add((ConvertTo-Wire $item)) }
        return , $list.ToArray()
    }
    if ($value.GetType().IsPrimitive -and $value -isnot [char]) { return $value }
    return "$value"
}

function Get-Plain($object) {
    $plain = @{}
    foreach ($property in $object.PSObject.Properties) {
        if ($property.MemberType -eq 'NoteProperty' -and ($property.Value -is [string])) { $plain[$property.Name] = $property.Value }
    }
    return $plain
}

# Properties that are looked up when they are read.
$script:lazy = @{
    NetworkAdapters = { Read-InteropProperty $this 'NetworkAdapters' }
    HardDrives = { Read-InteropProperty $this 'HardDrives' }
    DVDDrives = { Read-InteropProperty $this 'DVDDrives' }
    ComPort1 = { Read-InteropProperty $this 'ComPort1' }
    ComPort2 = { Read-InteropProperty $this 'ComPort2' }
    Heartbeat = { Read-InteropProperty $this 'Heartbeat' }
    IPAddresses = { Read-InteropProperty $this 'IPAddresses' }
    VlanSetting = { Read-InteropProperty $this 'VlanSetting' }
    PrimaryStatusDescription = { Read-InteropProperty $this 'PrimaryStatusDescription' }
    PrimaryOperationalStatus = { Read-InteropProperty $this 'PrimaryOperationalStatus' }
}

function Read-InteropProperty($object, [string]$name) {
    $root = Send-InteropTwin @{ property = [object[]]@($object.Twin, $name) }
    return , (ConvertFrom-Wire $root.GetProperty('objects')[0])
}

# Numbers instead of names of JSON's kinds: this runs for every property of every object.
# 1 object, 2 array, 3 text, 4 number, 5 true, 6 false, 7 null
function ConvertFrom-Wire([Text.Json.JsonElement]$element) {
    switch ([int]$element.ValueKind) {
        7 { return $null }
        5 { return $true }
        6 { return $false }
        3 { return $element.GetString() }
        4 { return $element.GetInt64() }
        2 {
            $list = [Collections.Generic.List[object]]::new()
            foreach ($item in $element.EnumerateArray()) { $list.Add((ConvertFrom-Wire $item)) }
            return , $list.ToArray()
        }
    }
    $first = $element.EnumerateObject()
    $null = $first.MoveNext()
    $value = $first.Current.Value
    switch ($first.Current.Name) {
        't' { return New-TwinObject $value.GetString() $element.GetProperty('k').GetString() $element.GetProperty('p') }
        'e' { return [VMState]$value.GetString() }
        'g' { return $value.GetGuid() }
        'd' { return [datetime]::Parse($value.GetString(), [cultureinfo]::InvariantCulture, 'RoundtripKind') }
        's' { return [timespan]::FromTicks($value.GetInt64()) }
        'b' { return , [Convert]::FromBase64String($value.GetString()) }
        'u' { return [uint64]$value.GetString() }
        'f' { return [double]::Parse($value.GetString(), [cultureinfo]::InvariantCulture) }
        'm' {
            $map = @{}
            foreach ($field in $value.EnumerateObject()) { $map[$field.Name] = ConvertFrom-Wire $field.Value }
            return $map
        }
    }
}

$script:classes = @{}

function New-TwinObject([string]$kind, [string]$key, [Text.Json.JsonElement]$properties) {
    $class = $script:classes[$kind]
    if ($null -eq $class) {
        $class = $kind.Split(':')[0] -as [type]
        if ($null -eq $class -or -not $class.IsSubclassOf([TwinObject])) { $class = [TwinObject] }
        $script:classes[$kind] = $class
    }
    $object = $class::new()
    $object.Twin = $key
    $object.Kind = $kind
    $all = $object.PSObject.Properties
    foreach ($field in $properties.EnumerateObject()) {
        $element = $field.Value
        $value = $property = $null
        switch ([int]$element.ValueKind) {
            3 { $value = $element.GetString() }
            4 { $value = $element.GetInt64() }
            5 { $value = $true }
            6 { $value = $false }
            7 { }
            default {
                $lazy = [Text.Json.JsonElement]::new()
                if ([int]$element.ValueKind -eq 1 -and $element.TryGetProperty('z', [ref]$lazy)) {
                    $property = [Management.Automation.PSScriptProperty]::new($field.Name, $script:lazy[$field.Name])
                } else { $value = ConvertFrom-Wire $element }
            }
        }
        if ($null -eq $property) { $property = [Management.Automation.PSNoteProperty]::new($field.Name, $value) }
        $all.Add($property)
    }
    return $object
}

function Connect-InteropTwin {
    $socket = [Net.Sockets.Socket]::new('Unix', 'Stream', 'Unspecified')
    $socket.Connect([Net.Sockets.UnixDomainSocketEndPoint]::new($env:INTEROP_TWIN_SOCKET))
    $stream = [Net.Sockets.NetworkStream]::new($socket, $true)
    $script:line = @{ reader = [IO.StreamReader]::new($stream); writer = [IO.StreamWriter]::new($stream) }
}

function Send-InteropTwin($request) {
    if ($null -eq $script:line) { Connect-InteropTwin }
    $script:line.writer.WriteLine([Text.Json.JsonSerializer]::Serialize($request, [type][object]))
    $script:line.writer.Flush()
    $answer = $script:line.reader.ReadLine()
    if ($null -eq $answer) { throw 'the twin is gone' }
    return [Text.Json.JsonDocument]::Parse($answer).RootElement
}

function Invoke-InteropTwin($cmdlet, [string]$name, $bound) {
    $arguments = @{}
    foreach ($key in $bound.Keys) { $arguments[$key] = ConvertTo-Wire $bound[$key] }
    if (-not $cmdlet.ShouldProcess($name)) { return }
    $root = Send-InteropTwin @{ call = $name; args = $arguments; user = "$env:USERNAME" }
    $no = [Text.Json.JsonElement]::new()
    if ($root.TryGetProperty('error', [ref]$no)) {
        $why = [Exception]::new($no.GetProperty('message').GetString())
        $why.HResult = $no.GetProperty('hresult').GetInt32()
        $record = [Management.Automation.ErrorRecord]::new($why, $no.GetProperty('id').GetString(), $no.GetProperty('category').GetString(), $null)
        # Written by a function, a record's id ends in the function's name; thrown, it is what it was made with: the
        # cmdlet's on Windows. Where errors end everything anyway, that is the better of the two.
        if ("$($bound['ErrorAction'])" -eq 'Stop' -or "$ErrorActionPreference" -eq 'Stop') { throw $record }
        $cmdlet.WriteError($record)
        return
    }
    foreach ($one in $root.GetProperty('objects').EnumerateArray()) { $cmdlet.WriteObject((ConvertFrom-Wire $one), $false) }
}
