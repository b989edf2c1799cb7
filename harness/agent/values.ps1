# What goes in and comes out: arguments made of JSON, properties read, results and failures as JSON can hold them.

$room = @{ left = 0 } # characters that the answer to this request may still take
if ($PSVersionTable.PSVersion.Major -lt 6) { Remove-TypeData -TypeName System.Array } # or arrays become {value, Count} in JSON

function Read-Property($object, [string]$path) {
    foreach ($part in $path.TrimEnd('?').Split('.')) {
        if ($part -eq '') { continue }
        if ($path.EndsWith('?') -and ($null -eq $object -or $null -eq $object.PSObject.Properties[$part])) { return $null }
        $object = $object.$part
    }
    return , $object
}

function Resolve-Argument($value, $names) {
    if ($value -is [string]) { return $value.Substring(1) }
    if ($value -is [array]) {
        $list = [object[]]::new($value.Count)
        for ($at = 0; $at -lt $list.Count; $at++) { $list[$at] = Resolve-Argument $value[$at] $names }
        return , $list
    }
    if ($value -isnot [Management.Automation.PSCustomObject]) { return $value }
    $form = @($value.PSObject.Properties)[0]
    if ($form.Name -eq '$ref') {
        $name, $path = $form.Value.Split([char[]]'.', 2)
        if (-not $names.ContainsKey($name) -or $names[$name].Count -eq 0) {
            throw (New-Failure 'NothingNamed' 'ObjectNotFound' "there is no $name")
        }
        $found = $names[$name]
        if ($found.Count -eq 1) { $found = $found[0] }
        if ($path) { $found = Read-Property $found $path }
        return , $found
    }
    if ($form.Name -eq '$as') {
        $raw = Resolve-Argument $form.Value[1] $names
        return , [Management.Automation.LanguagePrimitives]::ConvertTo($raw, [type]$form.Value[0])
    }
    if ($form.Name -ne '$map') { throw "an argument of the unknown form $($form.Name)" }
    $map = @{}
    foreach ($pair in $form.Value) { $map[(Resolve-Argument $pair[0] $names)] = Resolve-Argument $pair[1] $names }
    return $map
}

function Show-Value($value) {
    if ($null -eq $value) { return $null }
    $value = $value.PSObject.BaseObject
    $room.left -= 8
    if ($value -is [enum]) { $value = "$value" }
    elseif ($value -is [datetime]) { $value = $value.ToUniversalTime().ToString('o') }
    elseif ($value -is [timespan]) { $value = $value.TotalSeconds }
    elseif ($value -is [switch]) { $value = [bool]$value }
    elseif ($value -is [byte[]]) { $value = [Convert]::ToBase64String($value) }
    if ($value -is [decimal] -or ($value.GetType().IsPrimitive -and $value -isnot [char])) { return $value }
    if ($value -is [Collections.IDictionary]) {
        $map = @{}
        foreach ($key in @($value.Keys)) { $map["$key"] = Show-Value $value[$key] }
        return $map
    }
    if ($value -is [Collections.IEnumerable] -and $value -isnot [string]) {
        $list = [Collections.ArrayList]::new()
        foreach ($item in $value) { $null = $list.Add((Show-Value $item)) }
        return , $list.ToArray()
    }
    $text = "$value" # in the invariant culture, as all of PowerShell's own conversions
    $room.left -= $text.Length
    if ($room.left -lt 0) { throw (New-Failure 'AnswerTooLarge' 'LimitsExceeded' 'the answer is larger than 8 MiB') }
    return $text
}

function Show-Object($object, $paths) {
    $row = @{}
    foreach ($path in $paths) { $row[$path] = Show-Value (Read-Property $object $path) }
    return $row
}

function Test-Fit($object, $where) {
    foreach ($rule in $where) {
        $value = Read-Property $object $rule[0]
        $fits = if ($rule[1] -is [string]) { "$(Show-Value $value)" -match $rule[1] } else { $value -lt $rule[1] }
        if (-not $fits) { return $false }
    }
    return $true
}

function New-Failure($id, $category, $message) {
    [Management.Automation.ErrorRecord]::new([Exception]::new($message), $id, $category, $null)
}

function Get-Failure($record, [int]$step, $results) {
    $why = $record.Exception
    $message = $why.Message
    while ($null -ne ($why = $why.InnerException)) {
        if (-not $message.Contains($why.Message)) { $message += ' | ' + $why.Message }
    }
    @{
        ok = $false; step = $step; id = "$($record.FullyQualifiedErrorId)"; category = "$($record.CategoryInfo.Category)"
        hresult = $record.Exception.GetBaseException().HResult; message = $message; results = $results
    }
}
